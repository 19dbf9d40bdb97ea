//! Bytes that come from outside, turned into words.
