//! How the type of a module is called, and names that a proxy would have twice.

use syn::Ident;
use syn::ext::IdentExt;

use crate::expose::{Exposed, Function};

/// What the type of a module is called: `BitOps` of a `bit_ops`; an error if nothing can be called so.
pub(crate) fn of_module(module: &Ident) -> syn::Result<Ident> {
    let own = module.unraw().to_string();
    let words = own.split('_').filter(|word| !word.is_empty());
    let name: String = words
        .map(|word| {
            let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            first.to_uppercase() + rest
        })
        .collect();
    let refused = |why: &str| {
        error(
            module,
            &format!("the type beside the module would be called `{name}`, {why}: rename the module"),
        )
    };
    if name.is_empty() {
        return Err(error(module, "no name for a type comes of this one: give the module one with letters"));
    }
    if name == own {
        return Err(refused("as the module is"));
    }
    // Keywords are none, and what begins with a digit is none.
    let mut name_of_type = syn::parse_str::<Ident>(&name).map_err(|_| refused("which is no name"))?;
    name_of_type.set_span(module.span());
    Ok(name_of_type)
}

/// What every proxy has.
const OWN: [(&str, &str); 2] = [
    ("host", "which gives an object a place in the manager"),
    ("with_timeout", "which gives calls another deadline"),
];

/// What the proxy of a module has besides.
pub(crate) const OF_MODULES: [(&str, &str); 1] = [("create", "which makes an object with these functions")];

/// An error for each function whose name the proxy has already, or is one of those that it has `besides`.
pub(crate) fn clashes(exposed: &Exposed, besides: &[(&str, &str)]) -> Vec<syn::Error> {
    let Exposed { methods, constructors } = exposed;
    let all = || methods.iter().chain(constructors);
    let mut errors = Vec::new();
    for (index, function) in all().enumerate() {
        let mut before = all().take(index);
        if before.any(|other| other.name == function.name && are_both_there(other, function)) {
            errors
                .push(error(&function.name, "there are two of this name: a proxy calls them by their names"));
        }
    }
    for (name, what) in OWN.iter().chain(besides) {
        errors.extend(all().filter(|function| function.name == *name).map(|function| own(function, what)));
    }
    for method in methods {
        let name = format!("{}_async", method.name);
        let second = all().filter(|other| other.name == name && are_both_there(other, method));
        let what = format!("which sends a call of `{}` and does not wait for its value", method.name);
        errors.extend(second.map(|second| own(second, &what)));
    }
    for new in constructors.iter().filter(|function| function.name == "new") {
        let second = all().filter(|other| other.name == "create" && are_both_there(other, new));
        errors.extend(second.map(|second| own(second, "which runs `new`")));
    }
    errors
}

/// Whether no condition may leave out one of them.
fn are_both_there(one: &Function, other: &Function) -> bool {
    one.conditions.is_empty() && other.conditions.is_empty()
}

fn own(function: &Function, what: &str) -> syn::Error {
    let name = &function.name;
    error(name, &format!("the proxy has a `{name}` of its own, {what}: give this one another name"))
}

fn error(name: &Ident, text: &str) -> syn::Error {
    syn::Error::new(name.span(), text)
}
