//! Bridge domains: the paper's path 1.
