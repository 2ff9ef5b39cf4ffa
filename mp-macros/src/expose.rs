//! Which functions of a block are exposed, and whether they can be.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, GenericParam, Ident, ImplItem, ImplItemFn, ItemImpl, Pat, ReturnType, Type, Visibility,
};

use crate::options::Options;

/// What proxies of a type can do.
pub(crate) struct Exposed {
    pub(crate) methods: Vec<Function>,
    pub(crate) constructors: Vec<Function>,
}

/// A function that is exposed.
pub(crate) struct Function {
    pub(crate) name: Ident,
    pub(crate) visibility: Visibility,
    /// Its documentation, and what else goes along.
    pub(crate) attributes: Vec<Attribute>,
    /// Those under which it is there at all.
    pub(crate) conditions: Vec<Attribute>,
    pub(crate) arguments: Vec<(Ident, TokenStream)>,
    pub(crate) value: TokenStream,
    pub(crate) signature: String,
    pub(crate) kind: Kind,
    /// What the iterator brings that it returns, which stays in the manager.
    pub(crate) items: Option<TokenStream>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Looks,
    Changes,
    Makes,
    /// Makes one, or fails.
    TriesToMake,
}

/// Finds them; an error for each that cannot be exposed.
pub(crate) fn exposed(options: &Options, block: &ItemImpl) -> syn::Result<Exposed> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(syn::Error::new(path.span(), "an object's methods stand in an `impl` block of its own"));
    }
    let mut found = Exposed { methods: Vec::new(), constructors: Vec::new() };
    let mut errors: Option<syn::Error> = None;
    for item in &block.items {
        let ImplItem::Fn(function) = item else { continue };
        match one(options, block, function) {
            Ok(Some(one)) if matches!(one.kind, Kind::Looks | Kind::Changes) => found.methods.push(one),
            Ok(Some(one)) => found.constructors.push(one),
            Ok(None) => {}
            Err(error) => match &mut errors {
                Some(errors) => errors.combine(error),
                None => errors = Some(error),
            },
        }
    }
    for name in options.exposed.iter().flatten() {
        if !found.methods.iter().any(|method| method.name == *name) && errors.is_none() {
            errors = Some(syn::Error::new(name.span(), "there is no such method in this block"));
        }
    }
    errors.map_or(Ok(found), Err)
}

fn one(options: &Options, block: &ItemImpl, function: &ImplItemFn) -> syn::Result<Option<Function>> {
    let signature = &function.sig;
    let is_public = matches!(function.vis, Visibility::Public(_));
    let kind = match &signature.receiver() {
        Some(receiver) => {
            let is_exposed = match &options.exposed {
                Some(names) => names.contains(&signature.ident),
                None => is_public,
            };
            if !is_exposed {
                return Ok(None);
            }
            if receiver.reference.is_none() {
                let text = "an exposed method takes `&self` or `&mut self`: the object stays in the manager";
                return Err(syn::Error::new(receiver.span(), text));
            }
            if receiver.mutability.is_some() { Kind::Changes } else { Kind::Looks }
        }
        None if !is_public => return Ok(None),
        None => match made(block, &signature.output) {
            Some(kind) => kind,
            None => return Ok(None),
        },
    };
    can_travel(function)?;
    let arguments = signature.inputs.iter().filter_map(typed).enumerate();
    let arguments = arguments.map(|(place, (pattern, of))| (name_of(place, pattern), own(block, of)));
    let value = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, of) => own(block, of),
    };
    let attributes = |names: &[&str]| -> Vec<Attribute> {
        let is_named = |attribute: &&Attribute| names.iter().any(|name| attribute.path().is_ident(name));
        function.attrs.iter().filter(is_named).cloned().collect()
    };
    Ok(Some(Function {
        name: signature.ident.clone(),
        visibility: function.vis.clone(),
        attributes: attributes(&["doc", "deprecated", "cfg"]),
        conditions: attributes(&["cfg"]),
        arguments: arguments.collect(),
        value,
        signature: readable(signature),
        kind,
        items: items(&signature.output).map(|of| own(block, of)),
    }))
}

/// A signature without the spaces that tokens have between them.
fn readable(signature: &syn::Signature) -> String {
    let text = signature.to_token_stream().to_string();
    let name = signature.ident.to_string();
    let text = text.replace(&format!("{name} ("), &format!("{name}("));
    let tidied = [("& ", "&"), (" :", ":"), (" ,", ","), (" <", "<"), ("< ", "<"), (" >", ">")];
    tidied.iter().fold(text, |text, (wide, narrow)| text.replace(wide, narrow))
}

/// Whether a function without `self` makes an object of the block's type.
fn made(block: &ItemImpl, output: &ReturnType) -> Option<Kind> {
    let ReturnType::Type(_, of) = output else { return None };
    let is_own = |of: &Type| {
        let text = of.to_token_stream().to_string();
        text == "Self" || text == block.self_ty.to_token_stream().to_string()
    };
    if is_own(of) {
        return Some(Kind::Makes);
    }
    let Type::Path(path) = &**of else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let syn::GenericArgument::Type(first) = arguments.args.first()? else { return None };
    is_own(first).then_some(Kind::TriesToMake)
}

/// An error where the function is not one that can be called from another process.
fn can_travel(function: &ImplItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if let Some(asyncness) = &signature.asyncness {
        let text = "an exposed method runs on a thread of the manager and cannot be `async`";
        return Err(syn::Error::new(asyncness.span(), text));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(syn::Error::new(
            unsafety.span(),
            "an exposed method cannot be `unsafe`: nobody vouches for a caller in another process",
        ));
    }
    if let Some(parameter) = signature.generics.params.first() {
        let text = match parameter {
            GenericParam::Lifetime(_) => "an exposed method borrows nothing from its caller",
            _ => "an exposed method cannot be generic: give the type parameter to the `impl` block",
        };
        return Err(syn::Error::new(parameter.span(), text));
    }
    for (_, of) in signature.inputs.iter().filter_map(typed) {
        is_owned(
            of,
            "an argument is sent to another process and cannot be borrowed: take a `String` for a `&str`, a `Vec` for a slice",
        )?;
    }
    match &signature.output {
        output if items(output).is_some() => Ok(()),
        ReturnType::Type(_, of) => is_owned(
            of,
            "a value is sent to another process and cannot be borrowed: return a copy, or a proxy of another object",
        ),
        ReturnType::Default => Ok(()),
    }
}

/// The items of an iterator that is returned: `T` of `impl Iterator<Item = T>`.
fn items(output: &ReturnType) -> Option<&Type> {
    let ReturnType::Type(_, of) = output else { return None };
    let Type::ImplTrait(of) = &**of else { return None };
    let traits = of.bounds.iter().filter_map(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last(),
        _ => None,
    });
    let iterator = traits.into_iter().find(|last| last.ident == "Iterator")?;
    let syn::PathArguments::AngleBracketed(arguments) = &iterator.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::AssocType(item) if item.ident == "Item" => Some(&item.ty),
        _ => None,
    })
}

fn is_owned(of: &Type, borrowed: &str) -> syn::Result<()> {
    match of {
        Type::Reference(_) | Type::Ptr(_) | Type::Slice(_) => Err(syn::Error::new(of.span(), borrowed)),
        Type::ImplTrait(_) => Err(syn::Error::new(
            of.span(),
            "what is sent to another process has a type of its own, not `impl`",
        )),
        Type::TraitObject(_) => Err(syn::Error::new(
            of.span(),
            "what is sent to another process has a type of its own, not `dyn`",
        )),
        Type::BareFn(_) => Err(syn::Error::new(
            of.span(),
            "a function's address means nothing in another process: take a `Function`, which is of the same program",
        )),
        Type::Array(array) => is_owned(&array.elem, borrowed),
        Type::Tuple(tuple) => tuple.elems.iter().try_for_each(|of| is_owned(of, borrowed)),
        Type::Paren(inner) => is_owned(&inner.elem, borrowed),
        Type::Path(path) => {
            let segments = path.path.segments.iter();
            let arguments = segments.filter_map(|segment| match &segment.arguments {
                syn::PathArguments::AngleBracketed(arguments) => Some(arguments.args.iter()),
                _ => None,
            });
            arguments.flatten().try_for_each(|argument| match argument {
                syn::GenericArgument::Type(of) => is_owned(of, borrowed),
                syn::GenericArgument::Lifetime(lifetime) if lifetime.ident != "static" => {
                    Err(syn::Error::new(lifetime.span(), borrowed))
                }
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    }
}

fn typed(argument: &FnArg) -> Option<(&Pat, &Type)> {
    if let FnArg::Typed(typed) = argument { Some((&typed.pat, &typed.ty)) } else { None }
}

fn name_of(place: usize, pattern: &Pat) -> Ident {
    match pattern {
        Pat::Ident(named) => named.ident.clone(),
        _ => Ident::new(&format!("argument{place}"), pattern.span()),
    }
}

/// A type with `Self` written out: in the proxy it would mean the proxy.
fn own(block: &ItemImpl, of: &Type) -> TokenStream {
    write_out(of.to_token_stream(), &block.self_ty.to_token_stream())
}

fn write_out(tokens: TokenStream, own: &TokenStream) -> TokenStream {
    let one = |tree: TokenTree| match tree {
        TokenTree::Ident(ident) if ident == "Self" => own.clone(),
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), write_out(group.stream(), own));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        other => other.into(),
    };
    tokens.into_iter().flat_map(one).collect()
}
