//! vif
