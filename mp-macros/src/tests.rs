//! What the attribute refuses, where, and why.

use quote::ToTokens;
use syn::ItemImpl;

use crate::expose::{Kind, exposed};
use crate::options::Options;

/// The place that is marked, and what is said of it; of the first error.
fn refused(options: &str, block: &str) -> (String, String) {
    let options: Options = syn::parse_str(options).unwrap();
    let block: ItemImpl = syn::parse_str(block).unwrap();
    let error = exposed(&options, &block).err().expect("it is refused");
    let first = error.into_iter().next().unwrap();
    (first.span().source_text().unwrap(), first.to_string())
}

fn refuses(method: &str, place: &str, text: &str) {
    let (marked, said) = refused("", &format!("impl A {{ {method} }}"));
    assert!(marked.starts_with(place.split(' ').next().unwrap()), "{marked}");
    assert!(said.contains(text), "{said}");
}

#[test]
fn what_is_borrowed_is_marked() {
    refuses("pub fn a(&self, text: &str) {}", "&", "take a `String`");
    refuses("pub fn a(&self) -> &str { loop {} }", "&", "return a copy");
    refuses("pub fn a(&self, all: Vec<&u8>) {}", "&", "cannot be borrowed");
    refuses("pub fn a(&self) -> (u8, Option<&u8>) { loop {} }", "&", "cannot be borrowed");
    refuses("pub fn a(&self, one: impl Copy) {}", "impl", "a type of its own");
    refuses("pub fn a(&self, two: [&u8; 2]) {}", "&", "cannot be borrowed");
    refuses("pub fn a(&self) -> Cow<'_, str> { loop {} }", "'_", "return a copy");
    refuses("pub fn a(&self, one: Box<dyn Fn()>) {}", "dyn", "not `dyn`");
    refuses("pub fn a(&self, function: fn(u8) -> u8) {}", "fn", "take a `Function`");
}

#[test]
fn what_is_owned_is_not_refused() {
    let block: ItemImpl = syn::parse_str(
        "impl A { pub fn a(&self, text: Cow<'static, str>, all: [Vec<u8>; 2]) -> Option<(String, [u8; 4])> { None } }",
    )
    .unwrap();
    assert_eq!(exposed(&Options::default(), &block).ok().unwrap().methods.len(), 1);
}

#[test]
fn what_cannot_run_elsewhere_is_marked() {
    refuses("pub fn a(self) {}", "self", "the object stays in the manager");
    refuses("pub fn a<T>(&self, value: T) {}", "T", "give the type parameter to the `impl` block");
    refuses("pub fn a<'a>(&'a self) {}", "'a", "borrows nothing");
    refuses("pub async fn a(&self) {}", "async", "cannot be `async`");
    refuses("pub unsafe fn a(&self) {}", "unsafe", "nobody vouches");
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
    let error = exposed(&Options::default(), &block).err().unwrap();
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
    let found = exposed(&Options::default(), &block).ok().unwrap();
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
