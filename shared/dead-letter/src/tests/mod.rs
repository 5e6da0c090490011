mod database;
mod deaths;
mod operators;
mod races;
mod retries;
mod tables;
mod world;
