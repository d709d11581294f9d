//! Descriptions of infrastructures: any text is answered with a sound infrastructure or with mistakes that say where.
//!
//! The text is read as it is (VXDL or Aurora's dialect if it begins like XML, else TOML), and what was read is written
//! and read again: the same, in both syntaxes. Expanding and drawing must not panic either.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use pointsman_vxi::draw::{Picture, draw};
use pointsman_vxi::language::Syntax;
use pointsman_vxi::parse;

fuzz_target!(|text: &str| {
    match parse(text, Path::new("fuzz")) {
        Ok(made) => {
            for syntax in [Syntax::Vxdl, Syntax::Toml] {
                let written = syntax.write(&made).expect("both are written");
                let again = parse(&written, Path::new("written")).unwrap_or_else(|e| panic!("{e}\n{written}"));
                assert_eq!(again, made, "{written}");
            }
            for picture in [Picture::Dot, Picture::Mermaid, Picture::Svg] {
                let _ = draw(&made, picture);
            }
            // Larger ones would only be slow.
            if made.arrays.iter().all(|array| array.cardinality < 50) {
                let _ = made.expand();
            }
        }
        Err(mistakes) => {
            assert!(mistakes.count() > 0 && !mistakes.list.is_empty());
            for one in &mistakes.list {
                assert!(one.place.is_some(), "{one}");
                for said in [&one.thing, &one.wrong, &one.remedy] {
                    assert!(!said.contains(char::is_control), "{said:?}");
                }
                if let Some(excerpt) = &one.excerpt {
                    assert!(!excerpt.text.contains(char::is_control), "{excerpt:?}");
                }
            }
        }
    }
});
