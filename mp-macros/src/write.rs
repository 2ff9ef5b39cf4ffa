//! The code that the attribute writes.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{GenericParam, Ident, ItemImpl, Type};

use crate::expose::{Exposed, Function, Kind};
use crate::options::Options;

/// The proxy, and what the server runs.
pub(crate) fn proxy(options: &Options, block: &ItemImpl, exposed: &Exposed) -> TokenStream {
    let own = &block.self_ty;
    let Some(name) = name_of(own) else {
        return syn::Error::new_spanned(own, "the type of an object has a name").to_compile_error();
    };
    let writer = Writer {
        home: options.home.as_ref().map_or_else(home, |path| quote!(#path)),
        proxy: options.proxy.clone().unwrap_or_else(|| format_ident!("{name}Proxy", span = name.span())),
        name: name.to_string(),
        block,
        keep: options.keep,
    };
    let (of_proxy, of_object) = (writer.of_proxy(exposed), writer.of_object(exposed));
    quote!(#of_proxy #of_object)
}

struct Writer<'a> {
    home: TokenStream,
    proxy: Ident,
    name: String,
    block: &'a ItemImpl,
    keep: bool,
}

impl Writer<'_> {
    fn of_proxy(&self, exposed: &Exposed) -> TokenStream {
        let Self { home, proxy, name, block, .. } = self;
        let own = &block.self_ty;
        let (bounds, arguments, conditions) = block.generics.split_for_impl();
        let types = block.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            _ => None,
        });
        let doc = format!("Stands for a `{name}` in a manager.");
        let methods = exposed.methods.iter().map(|method| self.method(method));
        let constructors = exposed.constructors.iter().map(|one| self.constructor(one));
        let functions = self.functions(exposed);
        quote! {
            #home::__proxy! {
                #[doc = #doc]
                #[allow(unreachable_pub)]
                pub struct #proxy [#(#types),*]
            }

            #[allow(missing_docs, unreachable_pub, private_interfaces, dead_code, clippy::missing_errors_doc)]
            #[allow(clippy::too_many_arguments, clippy::len_without_is_empty)]
            impl #bounds #proxy #arguments #conditions {
                /// The methods that this proxy has.
                pub const METHODS: &'static [#home::Method] = <#own as #home::Object>::METHODS;

                /// In a method that runs in a manager: gives an object a place there.
                pub fn host(object: #own) -> ::std::result::Result<Self, #home::ManagerError> {
                    #home::__private::host(object).map(#home::Proxy::from_object)
                }

                #(#functions)*
                #(#constructors)*
                #(#methods)*
            }
        }
    }

    /// What runs callers' functions on the object, unless it has methods of these names.
    fn functions(&self, exposed: &Exposed) -> impl Iterator<Item = TokenStream> {
        let (home, own) = (&self.home, &self.block.self_ty);
        let private = quote!(#home::__private);
        let bounds = quote!(<__A: #private::Message, __R: #private::Message>);
        let error = quote!(#home::ManagerError);
        let object = quote!(#home::Proxy::object(self));
        let all = [
            (
                "view",
                quote! {
                    /// Runs a function in the manager that looks at the object. For processes of the
                    /// manager's own tree.
                    pub fn view #bounds(
                        &self, function: fn(&#own, __A) -> __R, arg: __A,
                    ) -> ::std::result::Result<__R, #error> {
                        #private::view(#object, function, &arg)
                    }
                },
            ),
            (
                "update",
                quote! {
                    /// Runs a function in the manager that may change the object, as one step. For
                    /// processes of the manager's own tree.
                    pub fn update #bounds(
                        &self, function: fn(&mut #own, __A) -> __R, arg: __A,
                    ) -> ::std::result::Result<__R, #error> {
                        #private::update(#object, function, &arg)
                    }
                },
            ),
            (
                "later",
                quote! {
                    /// As `view`, for a function that answers when it likes, from any thread:
                    /// meanwhile the call holds no thread of the manager, and waits on.
                    pub fn later #bounds(
                        &self, function: fn(&#own, (__A, #home::Later<__R>)), arg: __A,
                    ) -> ::std::result::Result<#home::AsyncReply<__R>, #error> {
                        #private::later(#object, function, &arg)
                    }
                },
            ),
        ];
        let taken = |name: &str| {
            let mut functions = exposed.methods.iter().chain(&exposed.constructors);
            functions.any(|one| one.name == name)
        };
        let free: Vec<_> = all.into_iter().filter(|(name, _)| !taken(name)).map(|(_, text)| text).collect();
        free.into_iter()
    }

    fn method(&self, method: &Function) -> TokenStream {
        let home = &self.home;
        let Function { name, visibility, attributes, conditions, value, .. } = method;
        let (names, types) = parts(method);
        let value = match &method.items {
            Some(item) => &quote!(#home::IteratorProxy<#item>),
            None => value,
        };
        let text = name.to_string();
        let later = format!("Sends [`{text}`](Self::{text}), whose value is fetched later.");
        let later_name = format_ident!("{text}_async", span = name.span());
        quote! {
            #(#attributes)*
            #visibility fn #name(
                &self, #(#names: #types),*
            ) -> ::std::result::Result<#value, #home::ManagerError> {
                const __METHOD: u64 = #home::__private::method_id(#text);
                #home::Proxy::object(self).call(__METHOD, &(#(#names,)*))
            }

            #(#conditions)*
            #[doc = #later]
            #visibility fn #later_name(
                &self, #(#names: #types),*
            ) -> ::std::result::Result<#home::AsyncReply<#value>, #home::ManagerError> {
                const __METHOD: u64 = #home::__private::method_id(#text);
                #home::Proxy::object(self).call_async(__METHOD, &(#(#names,)*))
            }
        }
    }

    fn constructor(&self, constructor: &Function) -> TokenStream {
        let home = &self.home;
        let Function { name, visibility, attributes, conditions, .. } = constructor;
        let (names, types) = parts(constructor);
        let text = format!("{}::{name}", self.name);
        let own = &self.block.self_ty;
        let make = format_ident!("__make_{name}");
        let create = if name == "new" { format_ident!("create", span = name.span()) } else { name.clone() };
        let value = quote!(<#own>::#name(#(#names),*));
        // Another argument may have the name.
        let manager = if names.iter().any(|name| *name == "manager") { "__manager" } else { "manager" };
        let manager = format_ident!("{manager}");
        let made = match constructor.kind {
            Kind::TriesToMake => quote!(#value.map_err(#home::Fault::constructor)?),
            _ => value,
        };
        quote! {
            #(#attributes)*
            #visibility fn #create(
                #manager: &#home::Manager, #(#names: #types),*
            ) -> ::std::result::Result<Self, #home::ManagerError> {
                let __constructor = #home::Constructor { name: #text, make: Self::#make };
                #manager.__create(&__constructor, &(#(#names,)*)).map(#home::Proxy::from_object)
            }

            #(#conditions)*
            #[doc(hidden)]
            fn #make(
                mut __packet: #home::__private::Packet,
            ) -> ::std::result::Result<#home::Made, #home::Fault> {
                let (#(#names,)*): (#(#types,)*) = #home::Arguments::of(&mut __packet).read()?;
                ::std::result::Result::Ok(#home::Made::new(#made))
            }
        }
    }

    fn of_object(&self, exposed: &Exposed) -> TokenStream {
        let Self { home, proxy, name, block, .. } = self;
        let own = &block.self_ty;
        let (bounds, arguments, conditions) = block.generics.split_for_impl();
        let turbofish = arguments.as_turbofish();
        let poisons = !self.keep;
        let methods = exposed.methods.iter().map(|method| {
            let Function { conditions, signature, .. } = method;
            let text = method.name.to_string();
            let changes = method.kind == Kind::Changes;
            quote!(#(#conditions)* #home::Method { name: #text, signature: #signature, changes: #changes })
        });
        let constructors = exposed.constructors.iter().map(|one| {
            let conditions = &one.conditions;
            let (text, make) = (format!("{name}::{}", one.name), format_ident!("__make_{}", one.name));
            quote!(#(#conditions)* #home::Constructor { name: #text, make: #proxy #turbofish::#make })
        });
        let looks = self.arms(exposed, Kind::Looks);
        let changes = self.arms(exposed, Kind::Changes);
        let result = quote!(::std::result::Result<(), #home::Fault>);
        quote! {
            #[allow(unused_variables, deprecated)]
            impl #bounds #home::Object for #own #conditions {
                const NAME: &'static str = #name;
                const METHODS: &'static [#home::Method] = &[#(#methods),*];
                const POISONS: bool = #poisons;
                const CONSTRUCTORS: &'static [#home::Constructor] = &[#(#constructors),*];

                fn run(
                    &self, __method: u64, __args: #home::Arguments<'_>, __value: #home::Value<'_>,
                ) -> #result {
                    match __method {
                        #(#looks)*
                        _ => ::std::result::Result::Err(#home::Fault::no_method()),
                    }
                }

                fn run_mut(
                    &mut self, __method: u64, __args: #home::Arguments<'_>, __value: #home::Value<'_>,
                ) -> #result {
                    match __method {
                        #(#changes)*
                        _ => ::std::result::Result::Err(#home::Fault::no_method()),
                    }
                }
            }
        }
    }

    /// The branches that decode the arguments, run the method and encode its value.
    fn arms(&self, exposed: &Exposed, kind: Kind) -> Vec<TokenStream> {
        let (home, own) = (&self.home, &self.block.self_ty);
        let arm = |method: &Function| {
            let Function { name, conditions, .. } = method;
            let (names, types) = parts(method);
            let text = name.to_string();
            let value = quote!(<#own>::#name(self, #(#names),*));
            let value = match &method.items {
                Some(_) => quote!(#home::__private::for_value(#value)?),
                None => value,
            };
            quote! {
                #(#conditions)*
                __known if __known == const { #home::__private::method_id(#text) } => {
                    let (#(#names,)*): (#(#types,)*) = __args.read()?;
                    __value.write(&#value)
                }
            }
        };
        exposed.methods.iter().filter(|method| method.kind == kind).map(arm).collect()
    }
}

fn parts(function: &Function) -> (Vec<&Ident>, Vec<&TokenStream>) {
    function.arguments.iter().map(|(name, of)| (name, of)).unzip()
}

fn name_of(own: &Type) -> Option<&Ident> {
    if let Type::Path(path) = own { path.path.segments.last().map(|last| &last.ident) } else { None }
}

/// Where the items of `mp-manager` are for this program: in that crate, if its
/// manifest names it, and otherwise in the facade.
fn home() -> TokenStream {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR").map(std::path::PathBuf::from);
    let manifest = folder.and_then(|folder| std::fs::read_to_string(folder.join("Cargo.toml")).ok());
    let names = |name: &str| manifest.as_ref().is_none_or(|text| text.contains(name));
    if names("mp-manager") || !names("multiprocess") {
        quote!(::mp_manager)
    } else {
        quote!(::multiprocess::manager)
    }
}
