//! Device sessions in a real Redis: what is announced, what is looked up, and what happens when Redis, its stream or the way
//! there fails.

mod faults;
mod fixture;
mod following;
mod gaps;
