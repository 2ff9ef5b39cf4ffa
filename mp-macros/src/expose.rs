//! Which functions are exposed, and whether they can be.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, FnArg, Ident, ImplItem, Item, ItemImpl, Pat, Receiver, ReturnType, Signature, Type, Visibility,
};

use crate::names;
use crate::options::Options;
use crate::travel::{can_travel, items};
use crate::write::at;

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
    /// What runs it where the object is.
    pub(crate) run: TokenStream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Looks,
    Changes,
    Makes,
    /// Makes one, or fails.
    TriesToMake,
}

/// What the functions of an `impl` block are to proxies; an error for each that cannot be exposed.
pub(crate) fn of_block(options: &Options, block: &ItemImpl) -> syn::Result<Exposed> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(syn::Error::new_spanned(path, "an object's methods stand in an `impl` block of its own"));
    }
    let functions = block.items.iter().filter_map(|item| match item {
        ImplItem::Fn(item) => {
            Some(Candidate { visibility: &item.vis, attributes: &item.attrs, signature: &item.sig })
        }
        _ => None,
    });
    exposed(options, Place::Block(&block.self_ty), &functions.collect::<Vec<_>>())
}

/// The same for the functions that are written in a module, without constructors.
pub(crate) fn of_module(options: &Options, items: &[Item]) -> syn::Result<Exposed> {
    let functions = items.iter().filter_map(|item| match item {
        Item::Fn(item) => {
            Some(Candidate { visibility: &item.vis, attributes: &item.attrs, signature: &item.sig })
        }
        _ => None,
    });
    exposed(options, Place::Module, &functions.collect::<Vec<_>>())
}

/// Where functions stand that may be exposed.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// Of this type.
    Block(&'a Type),
    Module,
}

struct Candidate<'a> {
    visibility: &'a Visibility,
    attributes: &'a [Attribute],
    signature: &'a Signature,
}

fn exposed(options: &Options, place: Place<'_>, candidates: &[Candidate<'_>]) -> syn::Result<Exposed> {
    let mut found = Exposed { methods: Vec::new(), constructors: Vec::new() };
    let mut errors = Vec::new();
    for candidate in candidates {
        match one(options, place, candidate) {
            Ok(Some(one)) if matches!(one.kind, Kind::Looks | Kind::Changes) => found.methods.push(one),
            Ok(Some(one)) => found.constructors.push(one),
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
    }
    let unknown = options.exposed.iter().flatten().filter_map(|name| unknown(name, place, candidates));
    errors.extend(unknown);
    let besides: &[_] = if matches!(place, Place::Module) { &names::OF_MODULES } else { &[] };
    errors.extend(names::clashes(&found, besides));
    let all = errors.into_iter().reduce(|mut all, error| {
        all.combine(error);
        all
    });
    all.map_or(Ok(found), Err)
}

/// What is wrong with a name in the list of what is to be exposed.
fn unknown(name: &Ident, place: Place<'_>, candidates: &[Candidate<'_>]) -> Option<syn::Error> {
    let named = candidates.iter().find(|candidate| candidate.signature.ident == *name);
    let text = match (named, place) {
        (None, Place::Block(_)) => "there is no such method in this block".to_owned(),
        (None, Place::Module) => {
            "there is no such function in this module: what is imported is exposed by a function that calls it"
                .to_owned()
        }
        (Some(_), Place::Module) => return None,
        (Some(named), _) if named.signature.receiver().is_some() => return None,
        (Some(named), Place::Block(own)) => match made(own, &named.signature.output) {
            Some(_) => {
                format!("`{name}` makes the object: what does is there without being listed, if it is `pub`")
            }
            None => format!(
                "`{name}` has no `self`, so it is no method of the object: give it `&self`, or put it into a module"
            ),
        },
    };
    Some(syn::Error::new(name.span(), text))
}

fn one(options: &Options, place: Place<'_>, candidate: &Candidate<'_>) -> syn::Result<Option<Function>> {
    let Candidate { visibility, signature, .. } = *candidate;
    let Some(kind) = kind(options, place, candidate)? else { return Ok(None) };
    can_travel(signature)?;
    let arguments = signature.inputs.iter().filter_map(typed).enumerate();
    let arguments: Vec<_> =
        arguments.map(|(index, (pattern, of))| (name_of(index, pattern), place.own(of))).collect();
    let value = match &signature.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, of) => place.own(of),
    };
    let attributes = |names: &[&str]| -> Vec<Attribute> {
        let is_named = |attribute: &&Attribute| names.iter().any(|name| attribute.path().is_ident(name));
        candidate.attributes.iter().filter(is_named).cloned().collect()
    };
    Ok(Some(Function {
        name: signature.ident.clone(),
        visibility: match place {
            Place::Block(_) => visibility.clone(),
            // Nobody outside would see it otherwise, and the list is for them.
            Place::Module => syn::parse_quote!(pub),
        },
        attributes: attributes(&["doc", "deprecated", "cfg"]),
        conditions: attributes(&["cfg"]),
        value,
        signature: readable(signature),
        kind,
        items: items(&signature.output).map(|of| place.own(of)),
        run: place.run(signature, arguments.iter().map(|(name, _)| name)),
        arguments,
    }))
}

/// What a function is to proxies, if it is anything.
fn kind(options: &Options, place: Place<'_>, candidate: &Candidate<'_>) -> syn::Result<Option<Kind>> {
    let Candidate { visibility, signature, .. } = *candidate;
    let is_public = matches!(visibility, Visibility::Public(_));
    let is_exposed = match &options.exposed {
        Some(names) => names.contains(&signature.ident),
        None => is_public,
    };
    match (place, signature.receiver()) {
        (Place::Block(own), None) if is_public => Ok(made(own, &signature.output)),
        (Place::Block(_), None) => Ok(None),
        _ if !is_exposed => Ok(None),
        (Place::Block(_), Some(receiver)) => by_reference(receiver).map(Some),
        (Place::Module, Some(receiver)) => {
            Err(syn::Error::new_spanned(receiver, "a function of a module has no `self`"))
        }
        // What a module has in its statics, it guards itself.
        (Place::Module, None) => Ok(Some(Kind::Looks)),
    }
}

fn by_reference(receiver: &Receiver) -> syn::Result<Kind> {
    if receiver.reference.is_none() {
        let text = "an exposed method takes `&self` or `&mut self`: the object stays in the manager";
        return Err(syn::Error::new_spanned(receiver, text));
    }
    Ok(if receiver.mutability.is_some() { Kind::Changes } else { Kind::Looks })
}

/// A signature as it is read: without the spaces that tokens have between them, and the marks of raw names.
fn readable(signature: &Signature) -> String {
    let text = signature.to_token_stream().to_string().replace("r#", "");
    let name = signature.ident.unraw().to_string();
    let text = text.replace(&format!("{name} ("), &format!("{name}("));
    let tidied = [("& ", "&"), (" :", ":"), (" ,", ","), (" <", "<"), ("< ", "<"), (" >", ">")];
    tidied.iter().fold(text, |text, (wide, narrow)| text.replace(wide, narrow))
}

/// Whether a function without `self` makes an object of the block's type.
fn made(own: &Type, output: &ReturnType) -> Option<Kind> {
    let ReturnType::Type(_, of) = output else { return None };
    let is_own = |of: &Type| {
        let text = of.to_token_stream().to_string();
        text == "Self" || text == own.to_token_stream().to_string()
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

fn typed(argument: &FnArg) -> Option<(&Pat, &Type)> {
    if let FnArg::Typed(typed) = argument { Some((&typed.pat, &typed.ty)) } else { None }
}

fn name_of(index: usize, pattern: &Pat) -> Ident {
    match pattern {
        Pat::Ident(named) => named.ident.clone(),
        _ => Ident::new(&format!("argument{index}"), pattern.span()),
    }
}

impl Place<'_> {
    /// A type with `Self` written out: in the proxy it would mean the proxy.
    fn own(self, of: &Type) -> TokenStream {
        match self {
            Self::Block(own) => write_out(of.to_token_stream(), &own.to_token_stream()),
            Self::Module => of.to_token_stream(),
        }
    }

    /// A call of the function.
    fn run<'a>(self, signature: &Signature, arguments: impl Iterator<Item = &'a Ident>) -> TokenStream {
        let name = &signature.ident;
        let span = at(name);
        match (self, signature.receiver()) {
            (Self::Block(own), Some(_)) => quote_spanned!(span=> <#own>::#name(self, #(#arguments),*)),
            (Self::Block(own), None) => quote_spanned!(span=> <#own>::#name(#(#arguments),*)),
            (Self::Module, _) => quote_spanned!(span=> self::#name(#(#arguments),*)),
        }
    }
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
