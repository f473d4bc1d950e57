-- A guardian is a role of its own. Whoever was made a student or a teacher to be somebody's guardian stays that, and
-- reads as before: guardianships hold whatever the role.
ALTER TABLE users DROP CONSTRAINT users_role_check;
ALTER TABLE users ADD CONSTRAINT users_role_check CHECK (role IN ('admin', 'teacher', 'student', 'guardian'));
