//! The engine: ports, workers and tables put together from a configuration.
