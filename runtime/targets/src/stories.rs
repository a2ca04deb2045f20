//! Configurations, right and wrong, and what is told of them.
