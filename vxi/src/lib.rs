//! Virtual infrastructures: the language, the graph model with capacities over time, embedding, leases and plans.

pub mod model;
