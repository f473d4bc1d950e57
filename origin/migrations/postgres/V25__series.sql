-- Series of classes. A class is of one or of none; all of a series are there from the first moment on.
ALTER TABLE classes ADD COLUMN series text COLLATE "C";
CREATE INDEX classes_by_series ON classes (institute, series, starts_at, class) WHERE series IS NOT NULL;
