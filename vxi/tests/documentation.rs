//! The examples of docs/vxdl.md are sound, and the one that is in both syntaxes says the same in both.

use std::path::Path;

use pointsman_vxi::language::Syntax;
use pointsman_vxi::parse;

const PAGE: &str = include_str!("../../docs/vxdl.md");

/// The first block of a language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("the block is there");
    rest.split_once("```").expect("it ends").0
}

#[test]
fn the_example_is_sound_and_the_same_in_both_syntaxes() {
    let made = parse(block("toml"), Path::new("docs/vxdl.md")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let vxdl = Syntax::Vxdl.write(&made).expect("it is written");
    let squeeze = |text: &str| text.split_whitespace().collect::<String>();
    assert!(squeeze(&vxdl).contains(&squeeze(block("xml"))), "{vxdl}");
}
