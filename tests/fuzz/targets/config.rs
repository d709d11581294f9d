//! A configuration: any text is answered with a configuration or with mistakes, each one line that says where.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::config::{Config, ConfigErrors};

fuzz_target!(|text: &str| {
    match Config::parse(text, Path::new("fuzz.toml")) {
        Ok(config) => {
            for port in &config.ports {
                assert!(port.worker.is_none_or(|worker| worker < config.workers.len()));
                assert!(port.guest.is_none_or(|guest| guest < config.guests.len()));
                let vlans = port.membership.vlans.iter().map(|&(_, domain)| domain);
                let mut domains = port.membership.native.into_iter().chain(vlans).peekable();
                assert!(domains.peek().is_some());
                assert!(domains.all(|domain| domain < config.domains.len()));
            }
        }
        Err(ConfigErrors(errors)) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.place.is_some() && !error.to_string().contains(char::is_control)));
        }
    }
});
