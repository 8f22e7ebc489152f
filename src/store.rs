//! What the controller keeps: records, and the trait that every backend implements.

pub mod records;
pub mod worker;
