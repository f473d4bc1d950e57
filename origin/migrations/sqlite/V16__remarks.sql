-- What a sheet of version 2 notes beside a mark.
ALTER TABLE attendance ADD COLUMN remark TEXT;
-- Who noted which of several concurrent remarks, when they differ.
ALTER TABLE attendance ADD COLUMN remark_writers TEXT;
