-- What users do with their accounts.
CREATE TABLE user_activities (
    institute TEXT NOT NULL REFERENCES institutes,
    -- A UUID of version 7: their order is the order of time.
    activity  TEXT NOT NULL,
    at        INTEGER NOT NULL,
    user      TEXT NOT NULL REFERENCES users,
    kind      TEXT NOT NULL,
    device    TEXT NOT NULL,
    PRIMARY KEY (institute, activity)
) STRICT, WITHOUT ROWID;
CREATE INDEX user_activities_by_user ON user_activities (institute, user, activity);
CREATE INDEX user_activities_by_kind ON user_activities (institute, kind, activity);
CREATE TRIGGER user_activities_are_not_changed BEFORE UPDATE ON user_activities
    BEGIN SELECT RAISE(ABORT, 'an activity is not changed'); END;
