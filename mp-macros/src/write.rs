//! The code that the attribute writes.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{AttrStyle, Attribute, GenericParam, Generics, Ident, ItemImpl, ItemMod, Meta, Token, Type};

use crate::expose::{Exposed, Function, Kind};
use crate::options::Options;

/// The proxy of an `impl` block's type, and what the server runs.
pub(crate) fn of_block(options: &Options, block: &ItemImpl, exposed: &Exposed) -> TokenStream {
    let own = &block.self_ty;
    let Some(name) = name_of(own) else {
        return syn::Error::new_spanned(own, "the type of an object has a name").to_compile_error();
    };
    let doc = format!("Stands for a `{name}` in a manager.");
    let doc = quote!(#[doc = #doc]);
    let writer = Writer::new(options, name, quote!(#own), (&block.generics, &block.attrs), doc);
    let (of_proxy, of_object) = (writer.of_proxy(exposed), writer.of_object(exposed));
    quote!(#of_proxy #of_object)
}

/// The module with a type of its own, which has no value, and that type's proxy; and the names of
/// both beside it. They stand in the module, where the types of its functions mean what they say.
pub(crate) fn of_module(
    options: &Options,
    module: &ItemMod,
    own: &Ident,
    mut exposed: Exposed,
) -> TokenStream {
    let ItemMod { attrs, vis, ident, content, .. } = module;
    let items = content.iter().flat_map(|(_, items)| items);
    let (inner, outer): (Vec<_>, Vec<_>) =
        attrs.iter().partition(|attribute| matches!(attribute.style, AttrStyle::Inner(_)));
    let docs = attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).map(spoken_outside);
    let doc = format!("Stands for the functions of `{ident}` in a manager.");
    let doc = quote!(#[doc = #doc] #[doc = ""] #(#docs)*);
    let generics = Generics::default();
    let writer = Writer::new(options, own, quote!(#own), (&generics, &[]), doc);
    exposed.constructors.push(writer.maker());
    let (of_proxy, of_object) = (writer.of_proxy(&exposed), writer.of_object(&exposed));
    let type_doc = format!("The functions of `{ident}`, as an object of a manager.");
    let proxy = &writer.proxy;
    let unsafety = &module.unsafety;
    let conditions = conditions(attrs);
    quote! {
        #(#outer)*
        #vis #unsafety mod #ident {
            #(#inner)*
            #(#items)*

            #[doc = #type_doc]
            #[allow(unreachable_pub)]
            #[derive(::std::fmt::Debug, ::std::clone::Clone, ::std::marker::Copy)]
            pub struct #own;

            #of_proxy
            #of_object
        }

        #(#conditions)*
        #[allow(unused_imports)]
        #vis use #ident::{#own, #proxy};
    }
}

/// The attributes under which an item is there at all, as they are written before one.
fn conditions(attributes: &[Attribute]) -> Vec<TokenStream> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).map(spoken_outside).collect()
}

/// An attribute before an item, also if it was one inside.
fn spoken_outside(attribute: &Attribute) -> TokenStream {
    let meta: &Meta = &attribute.meta;
    quote!(#[#meta])
}

struct Writer<'a> {
    home: TokenStream,
    proxy: Ident,
    /// What the type is called in errors and tools.
    name: String,
    own: TokenStream,
    generics: &'a Generics,
    conditions: Vec<TokenStream>,
    doc: TokenStream,
    keep: bool,
}

impl<'a> Writer<'a> {
    fn new(
        options: &Options,
        name: &Ident,
        own: TokenStream,
        (generics, attributes): (&'a Generics, &[Attribute]),
        doc: TokenStream,
    ) -> Self {
        Self {
            home: options.home.as_ref().map_or_else(home, |path| quote!(#path)),
            proxy: options.proxy.clone().unwrap_or_else(|| format_ident!("{name}Proxy", span = name.span())),
            name: name.to_string(),
            own,
            generics,
            conditions: conditions(attributes),
            doc,
            keep: options.keep,
        }
    }

    /// The constructor of a module's object.
    fn maker(&self) -> Function {
        let own = &self.own;
        Function {
            name: format_ident!("new", span = self.proxy.span()),
            visibility: syn::Visibility::Public(<Token![pub]>::default()),
            attributes: vec![syn::parse_quote!(#[doc = " An object with these functions."])],
            conditions: Vec::new(),
            arguments: Vec::new(),
            value: quote!(#own),
            signature: String::new(),
            kind: Kind::Makes,
            items: None,
            run: quote!(#own),
        }
    }

    fn of_proxy(&self, exposed: &Exposed) -> TokenStream {
        let Self { home, proxy, own, doc, conditions: there, .. } = self;
        let (bounds, arguments, conditions) = self.generics.split_for_impl();
        let types = self.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Type(parameter) => Some(&parameter.ident),
            _ => None,
        });
        let methods = exposed.methods.iter().map(|method| self.method(method));
        let constructors = exposed.constructors.iter().map(|one| self.constructor(one));
        let functions = self.functions(exposed);
        quote! {
            #(#there)*
            #home::__proxy! {
                #doc
                #[allow(unreachable_pub)]
                pub struct #proxy [#(#types),*]
            }

            #(#there)*
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
        let Self { home, own, .. } = self;
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
        let text = name.unraw().to_string();
        let span = at(name);
        let method_id = quote!(#home::__private::method_id(#text));
        let object = quote!(#home::Proxy::object(self));
        let arguments = quote_spanned!(span=> &(#(#names,)*));
        let call = quote_spanned!(span=> #object.call(__METHOD, #arguments));
        let call_async = quote_spanned!(span=> #object.call_async(__METHOD, #arguments));
        let later = format!("Sends [`{text}`](Self::{text}), whose value is fetched later.");
        let later_name = format_ident!("{text}_async", span = name.span());
        quote! {
            #(#attributes)*
            #visibility fn #name(
                &self, #(#names: #types),*
            ) -> ::std::result::Result<#value, #home::ManagerError> {
                const __METHOD: u64 = #method_id;
                #call
            }

            #(#conditions)*
            #[doc = #later]
            #visibility fn #later_name(
                &self, #(#names: #types),*
            ) -> ::std::result::Result<#home::AsyncReply<#value>, #home::ManagerError> {
                const __METHOD: u64 = #method_id;
                #call_async
            }
        }
    }

    fn constructor(&self, constructor: &Function) -> TokenStream {
        let home = &self.home;
        let Function { name, visibility, attributes, conditions, run, .. } = constructor;
        let (names, types) = parts(constructor);
        let text = format!("{}::{}", self.name, name.unraw());
        // Not in the braces: a raw name is written there with its `r#`.
        let make = format_ident!("__make_{}", name);
        let create =
            if name.unraw() == "new" { format_ident!("create", span = name.span()) } else { name.clone() };
        // Another argument may have the name.
        let manager = if names.iter().any(|name| *name == "manager") { "__manager" } else { "manager" };
        let manager = format_ident!("{manager}");
        let made = match constructor.kind {
            Kind::TriesToMake => quote!(#run.map_err(#home::Fault::constructor)?),
            _ => run.clone(),
        };
        let span = at(name);
        let travel = self.travel(constructor);
        let create_there = quote_spanned!(span=> #manager.__create(&__constructor, &(#(#names,)*)));
        let read = quote_spanned!(span=> #home::Arguments::of(&mut __packet).read()?);
        quote! {
            #(#attributes)*
            #visibility fn #create(
                #manager: &#home::Manager, #(#names: #types),*
            ) -> ::std::result::Result<Self, #home::ManagerError> {
                let __constructor = #home::Constructor { name: #text, make: Self::#make };
                #create_there.map(#home::Proxy::from_object)
            }

            #(#conditions)*
            #[doc(hidden)]
            fn #make(
                mut __packet: #home::__private::Packet,
            ) -> ::std::result::Result<#home::Made, #home::Fault> {
                #travel
                let (#(#names,)*): (#(#types,)*) = #read;
                ::std::result::Result::Ok(#home::Made::new(#made))
            }
        }
    }

    /// Has the compiler look at each of the types that travel, and tell of it what it lacks.
    fn travel(&self, function: &Function) -> TokenStream {
        let home = &self.home;
        let value = function.items.as_ref().or(match function.kind {
            Kind::Looks | Kind::Changes => Some(&function.value),
            Kind::Makes | Kind::TriesToMake => None,
        });
        let types = function.arguments.iter().map(|(_, of)| of).chain(value);
        quote!(#(let _ = #home::__private::travels::<#types>;)*)
    }

    fn of_object(&self, exposed: &Exposed) -> TokenStream {
        let Self { home, proxy, name, own, conditions: there, .. } = self;
        let (bounds, arguments, conditions) = self.generics.split_for_impl();
        let turbofish = arguments.as_turbofish();
        let poisons = !self.keep;
        let methods = exposed.methods.iter().map(|method| {
            let Function { conditions, signature, .. } = method;
            let text = method.name.unraw().to_string();
            let changes = method.kind == Kind::Changes;
            quote!(#(#conditions)* #home::Method { name: #text, signature: #signature, changes: #changes })
        });
        let constructors = exposed.constructors.iter().map(|one| {
            let conditions = &one.conditions;
            let (text, make) =
                (format!("{name}::{}", one.name.unraw()), format_ident!("__make_{}", one.name));
            quote!(#(#conditions)* #home::Constructor { name: #text, make: #proxy #turbofish::#make })
        });
        let looks = self.arms(exposed, Kind::Looks);
        let changes = self.arms(exposed, Kind::Changes);
        let result = quote!(::std::result::Result<(), #home::Fault>);
        quote! {
            #(#there)*
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
        let home = &self.home;
        let arm = |method: &Function| {
            let Function { name, conditions, run, .. } = method;
            let (names, types) = parts(method);
            let text = name.unraw().to_string();
            let span = at(name);
            let travel = self.travel(method);
            let read = quote_spanned!(span=> __args.read()?);
            let value = match &method.items {
                Some(_) => quote_spanned!(span=> __for_value(#run)?),
                None => run.clone(),
            };
            let for_value =
                method.items.as_ref().map(|_| quote!(use #home::__private::for_value as __for_value;));
            let write = quote_spanned!(span=> __value.write(&#value));
            quote! {
                #(#conditions)*
                __known if __known == const { #home::__private::method_id(#text) } => {
                    #for_value
                    #travel
                    let (#(#names,)*): (#(#types,)*) = #read;
                    #write
                }
            }
        };
        exposed.methods.iter().filter(|method| method.kind == kind).map(arm).collect()
    }
}

/// Where what the types of a function lack is told: there, and not at the attribute.
pub(crate) fn at(name: &Ident) -> Span {
    Span::call_site().located_at(name.span())
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
