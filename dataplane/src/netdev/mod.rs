//! A kernel network device through AF_XDP.
