-- A guardian is a role of its own. Whoever was made a student or a teacher to be somebody's guardian stays that, and
-- reads as before: guardianships hold whatever the role.

-- A constraint that takes more than before changes nothing in the rows: SQLite's documentation of ALTER TABLE has it
-- rewritten in the schema, since a new table would take all references to users with it. The index raises the number by
-- which other connections see that the schema is another one.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''student'')', '''student'', ''guardian'')') WHERE type = 'table' AND name = 'users';
PRAGMA writable_schema = RESET;
DROP INDEX users_by_role;
CREATE INDEX users_by_role ON users (institute, role);
