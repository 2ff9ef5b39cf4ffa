//! What the attribute refuses, where, and why.

use quote::ToTokens;
use syn::{ItemImpl, ItemMod};

use crate::expose::{Kind, of_block, of_module};
use crate::names;
use crate::options::Options;

/// The place that is marked, and what is said of it; of the first error.
fn refused(options: &str, block: &str) -> (String, String) {
    let options: Options = syn::parse_str(options).unwrap();
    let block: ItemImpl = syn::parse_str(block).unwrap();
    let error = of_block(&options, &block).err().expect("it is refused");
    let first = error.into_iter().next().unwrap();
    (first.span().source_text().unwrap(), first.to_string())
}

fn refuses(method: &str, place: &str, text: &str) {
    let (marked, said) = refused("", &format!("impl A {{ {method} }}"));
    assert_eq!(marked, place);
    assert!(said.contains(text), "{said}");
}

#[test]
fn what_is_borrowed_is_marked() {
    refuses("pub fn a(&self, text: &str) {}", "&str", "take a `String`");
    refuses("pub fn a(&self) -> &str { loop {} }", "&str", "return a copy");
    refuses("pub fn a(&self, all: Vec<&u8>) {}", "&u8", "cannot be borrowed");
    refuses("pub fn a(&self) -> (u8, Option<&u8>) { loop {} }", "&u8", "cannot be borrowed");
    refuses("pub fn a(&self, one: impl Copy) {}", "impl Copy", "a type of its own");
    refuses("pub fn a(&self, two: [&u8; 2]) {}", "&u8", "cannot be borrowed");
    refuses("pub fn a(&self) -> Cow<'_, str> { loop {} }", "'_", "return a copy");
    refuses("pub fn a(&self, one: Box<dyn Fn()>) {}", "dyn Fn()", "not `dyn`");
    refuses("pub fn a(&self, function: fn(u8) -> u8) {}", "fn(u8) -> u8", "take a `Function`");
}

#[test]
fn what_is_owned_is_not_refused() {
    let block: ItemImpl = syn::parse_str(
        "impl A { pub fn a(&self, text: Cow<'static, str>, all: [Vec<u8>; 2]) -> Option<(String, [u8; 4])> { None } }",
    )
    .unwrap();
    assert_eq!(of_block(&Options::default(), &block).ok().unwrap().methods.len(), 1);
}

#[test]
fn what_cannot_run_elsewhere_is_marked() {
    refuses("pub fn a(self) {}", "self", "the object stays in the manager");
    refuses("pub fn a<T>(&self, value: T) {}", "T", "give the type parameter to the `impl` block");
    refuses("pub fn a<'a>(&'a self) {}", "'a", "borrows nothing");
    refuses("pub async fn a(&self) {}", "async", "cannot be `async`");
    refuses("pub unsafe fn a(&self) {}", "unsafe", "nobody vouches");
    refuses("pub extern \"C\" fn a(&self) {}", "extern \"C\"", "a panic in it would end the manager");
}

#[test]
fn wrong_options_are_marked() {
    assert_eq!(refused("exposed(a, b)", "impl A { fn a(&self) {} }").0, "b");
    assert!(syn::parse_str::<Options>("expose(a)").err().unwrap().to_string().contains("`exposed(..)`"));
    assert!(refused("", "impl Clone for A { fn clone(&self) -> A { A } }").1.contains("of its own"));
}

#[test]
fn every_error_is_reported() {
    let block: ItemImpl = syn::parse_str("impl A { pub fn a(self) {} pub fn b(&self, x: &u8) {} }").unwrap();
    let error = of_block(&Options::default(), &block).err().unwrap();
    assert_eq!(error.into_iter().count(), 2);
}

#[test]
fn what_is_exposed() {
    let block: ItemImpl = syn::parse_str(
        "impl A {
            /// Makes one.
            pub fn new(x: u8) -> Self { A }
            pub fn open() -> Result<Self, String> { Ok(A) }
            pub fn helper() -> u8 { 1 }
            /// Looks.
            pub fn look(&self) -> Vec<Self> { vec![] }
            pub fn change(&mut self, (a, b): (u8, u8)) {}
            fn hidden(&self) {}
        }",
    )
    .unwrap();
    let found = of_block(&Options::default(), &block).ok().unwrap();
    let names = |all: &[crate::expose::Function]| -> Vec<String> {
        all.iter().map(|one| one.name.to_string()).collect()
    };
    assert_eq!(names(&found.methods), ["look", "change"]);
    assert_eq!(names(&found.constructors), ["new", "open"]);
    assert!(found.constructors[1].kind == Kind::TriesToMake && found.methods[1].kind == Kind::Changes);
    assert_eq!(found.methods[0].value.to_string().replace(' ', ""), "Vec<A>");
    assert_eq!(found.methods[1].arguments[0].0.to_string(), "argument0");
    let doc = found.methods[0].attributes[0].to_token_stream().to_string();
    assert!(doc.contains("Looks."), "{doc}");
    assert_eq!(found.methods[0].signature, "fn look(&self) -> Vec<Self>");
}

#[test]
fn what_is_exposed_of_a_module() {
    let module: ItemMod = syn::parse_str(
        "mod a {
            use std::f64::consts::PI;
            pub const TWO: u8 = 2;
            /// Adds.
            pub fn add(a: u8, mut b: u8) -> u8 { a + b }
            pub fn new() -> Self { A }
            pub(crate) fn near() {}
            fn hidden() {}
            pub mod inner { pub fn deep() {} }
        }",
    )
    .unwrap();
    let (_, items) = module.content.unwrap();
    let found = of_module(&Options::default(), &items).ok().unwrap();
    let names: Vec<_> = found.methods.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["add", "new"]);
    assert!(found.constructors.is_empty() && found.methods.iter().all(|one| one.kind == Kind::Looks));
    assert_eq!(found.methods[0].run.to_string().replace(' ', ""), "self::add(a,b)");
    let options = syn::parse_str("exposed(hidden)").unwrap();
    assert_eq!(of_module(&options, &items).ok().unwrap().methods[0].name, "hidden");
}

#[test]
fn a_function_of_a_module_has_no_self() {
    let module: ItemMod = syn::parse_str("mod a { pub fn a(&self) {} }").unwrap();
    let error = of_module(&Options::default(), &module.content.unwrap().1).err().unwrap();
    assert_eq!(error.span().source_text().unwrap(), "&self");
}

#[test]
fn names_of_modules() {
    let name = |text: &str| names::of_module(&syn::parse_str(text).unwrap());
    let all = ["operator", "bit_ops", "_v2_x", "r#loop", "größe", "élan", "a_2", "__x__", "ß"];
    let types = all.map(|text| name(text).unwrap().to_string());
    assert_eq!(types, ["Operator", "BitOps", "V2X", "Loop", "Größe", "Élan", "A2", "X", "SS"]);
    for (text, why) in [
        ("__", "with letters"),
        ("___", "with letters"),
        ("_2", "no name"),
        ("__2_x", "no name"),
        ("self_", "no name"),
        ("A", "as the module is"),
        ("BitOps", "as the module is"),
        ("日本", "as the module is"),
    ] {
        let error = name(text).unwrap_err();
        assert!(error.to_string().contains(why), "{text}: {error}");
        assert_eq!(error.span().source_text().unwrap(), text);
    }
}

/// What methods, arguments and types are called in odd ways does not end the attribute.
#[test]
fn odd_names_are_written() {
    let module = |name: &str| -> ItemMod {
        syn::parse_str(&format!(
            "mod {name} {{ pub fn r#loop(r#type: u8, _: u8, (a, b): (u8, u8)) {{}} pub fn __() {{}} pub fn _1() {{}} }}"
        ))
        .unwrap()
    };
    for name in ["__", "_1", "r#fn", "self_", "A", "_", "x"] {
        let Ok(module) = std::panic::catch_unwind(|| module(name)) else { continue };
        assert!(!crate::of_module(&Options::default(), &module).is_empty());
    }
    for own in ["__", "_1", "r#fn", "r#type<T>", "A::r#loop", "(A)", "[u8]", "&A", "dyn A", "<A as B>::C"] {
        let text = format!(
            "impl {own} {{ pub fn r#new(r#self_: u8) -> Self {{}} pub fn r#loop(&self, r#type: u8) {{}} pub fn __(&self) {{}} }}"
        );
        let block: ItemImpl = syn::parse_str(&text).unwrap();
        assert!(!crate::of_block(&Options::default(), &block).is_empty());
    }
}
