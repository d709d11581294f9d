//! What is written is read again as the same, in each syntax and from one to the other.

mod support;

use std::path::Path;

use pointsman_vxi::language::Syntax;
use pointsman_vxi::model::VirtualInfrastructure;
use pointsman_vxi::{check, parse};
use proptest::prelude::*;
use support::infrastructure;

fn write(infrastructure: &VirtualInfrastructure, syntax: Syntax) -> String {
    syntax.write(infrastructure).expect("both are written")
}

fn read(text: &str) -> VirtualInfrastructure {
    parse(text, Path::new("made")).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn vxdl_and_toml_lose_nothing(made in infrastructure()) {
        if let Err(mistakes) = check::check(&made) {
            panic!("the test makes sound ones: {mistakes}");
        }
        for syntax in [Syntax::Vxdl, Syntax::Toml] {
            let text = write(&made, syntax);
            prop_assert_eq!(Syntax::of(&text), syntax);
            let again = read(&text);
            prop_assert_eq!(&again, &made, "{}", text);
            prop_assert_eq!(write(&again, syntax), text, "the canonical form is its own canonical form");
        }
    }

    #[test]
    fn there_and_back_is_the_same_text(made in infrastructure()) {
        let vxdl = write(&made, Syntax::Vxdl);
        let toml = write(&read(&vxdl), Syntax::Toml);
        prop_assert_eq!(write(&read(&toml), Syntax::Vxdl), vxdl);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(<|</|>|vLink|vNode|id|description|\\[\\[|\\]\\]|=|\"|\n|&|;|[ -~]){0,60}") {
        let _ = parse(&text, Path::new("made"));
    }

    #[test]
    fn a_changed_byte_is_read_or_told(made in infrastructure(), at in any::<prop::sample::Index>(), byte in 32_u8..127) {
        for syntax in [Syntax::Vxdl, Syntax::Toml] {
            let mut bytes = write(&made, syntax).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Err(mistakes) = parse(&text, Path::new("made"))
            {
                prop_assert!(mistakes.count() > 0);
                prop_assert!(mistakes.list.iter().all(|one| one.place.is_some()), "{}", mistakes);
            }
        }
    }
}

#[test]
fn figure_4_is_the_same_in_both_syntaxes() {
    let fig4 = read(include_str!("data/fig4.vxdl.xml"));
    let toml = write(&fig4, Syntax::Toml);
    assert_eq!(toml, include_str!("data/fig4.toml"), "data/fig4.toml is its canonical TOML");
    assert_eq!(read(&toml), fig4);
    assert_eq!(read(&write(&fig4, Syntax::Vxdl)), fig4);
}
