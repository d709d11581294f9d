//! Xenstore, grants and event channels for userspace backends: the real devices, or a simulated hypervisor.
