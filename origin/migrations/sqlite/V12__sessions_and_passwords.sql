-- Sessions that end before their tokens do, devices by name, forgotten passwords, signing keys that take turns.

-- `Revocation` of sync-protocol as JSON; absent for somebody whose tokens all count.
ALTER TABLE users ADD COLUMN revocation TEXT;

CREATE TABLE devices (
    institute     TEXT NOT NULL REFERENCES institutes,
    user          TEXT NOT NULL REFERENCES users,
    device        TEXT NOT NULL,
    name          TEXT NOT NULL,
    platform      TEXT,
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (institute, user, device)
) STRICT, WITHOUT ROWID;

CREATE TABLE password_resets (
    -- SHA-256 of the token: the store never holds one that works.
    token_hash BLOB PRIMARY KEY,
    institute  TEXT NOT NULL REFERENCES institutes,
    user       TEXT NOT NULL REFERENCES users,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX password_resets_by_user ON password_resets (institute, user);

-- A key is published when it is made and signs from here on, until another one does.
ALTER TABLE signing_keys ADD COLUMN signs_from INTEGER NOT NULL DEFAULT 0;
UPDATE signing_keys SET signs_from = created_at;
