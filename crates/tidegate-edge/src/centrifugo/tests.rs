//! The encodings against bytes that others made, against each other, and against whatever comes.

mod hostile;
mod vectors;
