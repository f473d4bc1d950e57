-- Sessions that end before their tokens do, devices by name, forgotten passwords, signing keys that take turns.

-- `Revocation` of sync-protocol as JSON; absent for somebody whose tokens all count.
ALTER TABLE users ADD COLUMN revocation json;

CREATE TABLE devices (
    institute     text COLLATE "C" NOT NULL REFERENCES institutes,
    "user"        text COLLATE "C" NOT NULL REFERENCES users,
    device        text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    platform      text,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (institute, "user", device)
);
CALL protect_table('devices');

CREATE TABLE password_resets (
    -- SHA-256 of the token: the store never holds one that works.
    token_hash bytea PRIMARY KEY,
    institute  text COLLATE "C" NOT NULL REFERENCES institutes,
    "user"     text COLLATE "C" NOT NULL REFERENCES users,
    expires_at timestamptz NOT NULL
);
CREATE INDEX password_resets_by_user ON password_resets (institute, "user");
CALL protect_table('password_resets');

-- A key is published when it is made and signs from here on, until another one does.
ALTER TABLE signing_keys ADD COLUMN signs_from timestamptz;
UPDATE signing_keys SET signs_from = created_at;
ALTER TABLE signing_keys ALTER COLUMN signs_from SET NOT NULL;
GRANT DELETE ON signing_keys TO rollcall_app;
