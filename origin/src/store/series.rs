//! Series of classes: what classes of the same weekdays at the same time have in common.

use super::error::StoreError;
use super::timetable::{ClassChange, ClassRow};

/// A class of a series and when it takes place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassTimes {
    pub(crate) class: String,
    pub(crate) starts_at: i64,
    pub(crate) ends_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct NewSeries {
    pub(crate) series: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) room: String,
    pub(crate) teacher: String,
    pub(crate) classes: Vec<ClassTimes>,
}

pub(crate) trait ReadSeries {
    /// Whether there is a class of the series, cancelled or not.
    fn series_exists(&self, series: &str) -> Result<bool, StoreError>;

    /// The series that a class is of.
    fn series_of(&self, class: &str) -> Result<Option<String>, StoreError>;

    /// The classes of a class's series that begin with it or later, in order, without those that were cancelled.
    fn following_classes(&self, class: &str) -> Result<Vec<ClassRow>, StoreError>;
}

pub(crate) trait WriteSeries {
    /// Adds the classes of a series; whether all of them were added: false leaves some of them.
    fn add_series(&self, new: &NewSeries) -> Result<bool, StoreError>;

    /// Moves classes, and changes in each what `change` says beside its times.
    fn change_classes(&self, classes: &[ClassTimes], change: &ClassChange) -> Result<(), StoreError>;

    /// Takes classes off all timetables.
    fn cancel_classes(&self, classes: &[ClassTimes], at: i64) -> Result<(), StoreError>;
}
