//! Whether a function can be called from another process.

use syn::{FnArg, GenericParam, ReturnType, Signature, Type};

/// An error where the function is not one that can be called from another process.
pub(crate) fn can_travel(signature: &Signature) -> syn::Result<()> {
    if let Some(asyncness) = &signature.asyncness {
        let text = "an exposed method runs on a thread of the manager and cannot be `async`";
        return Err(syn::Error::new_spanned(asyncness, text));
    }
    if let Some(unsafety) = &signature.unsafety {
        return Err(syn::Error::new_spanned(
            unsafety,
            "an exposed method cannot be `unsafe`: nobody vouches for a caller in another process",
        ));
    }
    if let Some(abi) = &signature.abi {
        let text = "an exposed function is not `extern`: a panic in it would end the manager; expose one that calls it";
        return Err(syn::Error::new_spanned(abi, text));
    }
    if let Some(parameter) = signature.generics.params.first() {
        let text = match (parameter, signature.receiver()) {
            (GenericParam::Lifetime(_), _) => "an exposed method borrows nothing from its caller",
            (_, Some(_)) => {
                "an exposed method cannot be generic: give the type parameter to the `impl` block"
            }
            (_, None) => {
                "an exposed function cannot be generic: which type is meant cannot be said from another process"
            }
        };
        return Err(syn::Error::new_spanned(parameter, text));
    }
    for of in signature.inputs.iter().filter_map(typed) {
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
pub(crate) fn items(output: &ReturnType) -> Option<&Type> {
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
        Type::Reference(_) | Type::Ptr(_) | Type::Slice(_) => Err(syn::Error::new_spanned(of, borrowed)),
        Type::ImplTrait(_) => Err(syn::Error::new_spanned(
            of,
            "what is sent to another process has a type of its own, not `impl`",
        )),
        Type::TraitObject(_) => Err(syn::Error::new_spanned(
            of,
            "what is sent to another process has a type of its own, not `dyn`",
        )),
        Type::BareFn(_) => Err(syn::Error::new_spanned(
            of,
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
                    Err(syn::Error::new_spanned(lifetime, borrowed))
                }
                _ => Ok(()),
            })
        }
        _ => Ok(()),
    }
}

fn typed(argument: &FnArg) -> Option<&Type> {
    if let FnArg::Typed(typed) = argument { Some(&typed.ty) } else { None }
}
