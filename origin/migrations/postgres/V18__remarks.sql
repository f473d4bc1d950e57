-- What a sheet of version 2 notes beside a mark.
ALTER TABLE attendance
    ADD COLUMN remark text,
    -- Who noted which of several concurrent remarks, when they differ.
    ADD COLUMN remark_writers json;
