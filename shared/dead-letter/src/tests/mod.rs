mod database;
mod operators;
mod races;
mod retries;
mod tables;
mod world;
