//! The components are the examples of this package; they share nothing.
