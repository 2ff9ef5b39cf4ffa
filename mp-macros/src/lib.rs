//! The attribute `#[object]` of `mp-manager` and `multiprocess`, where its
//! documentation is.

use proc_macro::TokenStream;
use quote::quote;
use syn::parse_macro_input;

mod expose;
mod names;
mod options;
mod travel;
mod write;

#[cfg(test)]
mod tests;

/// Makes a proxy for the objects of a type, or for the functions of a module, so that they can
/// live in a manager.
///
/// On an `impl` block of `Counter` it writes `CounterProxy`, with the `pub`
/// methods of the block. Each of them runs in the manager's server and returns a
/// `Result`; `increment_async` of an `increment` returns before it has run. A `pub` function that
/// returns `Self`, or a `Result` of it, becomes a constructor whose first argument is the manager;
/// `new` becomes `create`. Other functions without `self` stay what they are: an object has no such
/// method, and to name one in `exposed(..)` is an error.
///
/// Unless the block has methods of these names, `counter.view(|counter, x| .., x)` runs a plain
/// function on the object where it lives, `update` one that changes it, as one step, and `later`
/// one that keeps the right to answer, a `Later`, and gives its thread back meanwhile.
///
/// `CounterProxy::host(counter)?`, in a method that runs in a server, gives a
/// value a place there; so methods return proxies of new objects.
///
/// Arguments and values travel: they own their data. Methods take `&self` or
/// `&mut self`. The type is `Send` and `Sync`, because methods that take `&self`
/// run side by side.
///
/// A method that returns `impl Iterator<Item = T>` leaves the iterator in the manager, and its
/// proxy, an `IteratorProxy<T>`, is returned. It borrows nothing of the object: write
/// `impl Iterator<Item = T> + Send + use<>`.
///
/// # A copy of the object
/// Nothing brings the object itself but what its methods return. Where its type is a message too, a method
/// that returns a copy is `pub fn copy(&self) -> Self { self.clone() }`, and without one
/// `counter.view(|counter, ()| counter.clone(), ())` brings it.
///
/// # Functions of a module
/// On a module, `mod operator { .. }`, the methods are the `pub` functions that are written in it, or those
/// of the list. The module stays as it is, and beside it there are `Operator`, a type without a value,
/// and `OperatorProxy`: `bit_ops` makes `BitOps` and `BitOpsProxy`. `OperatorProxy::create(&manager)`
/// makes an object, which can do all that others can. Of a name like `__`, `_2` or `Ops`, which gives the type
/// none of its own, an error says so.
///
/// Its functions run side by side, and see the statics of the server's process. None of them is
/// generic or has a `self`. What the module imports or has in inner modules is not exposed: write a function that calls it.
///
/// ```
/// use mp_manager::Manager;
///
/// #[mp_manager::object]
/// mod operator {
///     /// Adds.
///     pub fn add(a: i64, b: i64) -> i64 {
///         a + b
///     }
///     pub fn pow(a: u128, b: u32) -> u128 {
///         a.pow(b)
///     }
/// }
///
/// fn main() -> Result<(), mp_manager::ManagerError> {
///     mp_manager::init(); // in a child this does the child's work and never returns
///     let manager = Manager::start()?;
///     let op = OperatorProxy::create(&manager)?;
///     assert_eq!(op.add(23, 45)?, 68); // runs in the server
///     assert_eq!(operator::add(23, 45), 68); // runs here
///     Ok(())
/// }
/// ```
///
/// # Options
/// * `exposed(get, _peek)`: these methods, also private ones, and no others. Constructors are not listed.
/// * `keep`: a panic in a method that takes `&mut self` does not poison the object.
/// * `proxy = Name`: another name for the proxy.
/// * `crate = path`: where the items of `mp-manager` are found.
///
/// # What cannot be exposed
/// Methods that take `self` by value, borrow an argument or a value, are generic,
/// `async`, `unsafe` or `extern`: an error says so, at the place. Type parameters belong to
/// the `impl` block. Nor can those whose names the proxy has already: `host`, `with_timeout`, `create` beside
/// `new` or in a module, and `get_async` beside `get`.
#[proc_macro_attribute]
pub fn object(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    match parse_macro_input!(item as syn::Item) {
        syn::Item::Impl(block) => of_block(&options, &block).into(),
        syn::Item::Mod(module) => of_module(&options, &module).into(),
        other => {
            let text = "`object` stands before an `impl` block, or before a module of functions";
            let error = syn::Error::new(proc_macro2::Span::call_site(), text).to_compile_error();
            quote!(#other #error).into()
        }
    }
}

fn of_block(options: &options::Options, block: &syn::ItemImpl) -> proc_macro2::TokenStream {
    let written = expose::of_block(options, block).map(|exposed| write::of_block(options, block, &exposed));
    let written = written.unwrap_or_else(|error| error.to_compile_error());
    quote!(#block #written)
}

fn of_module(options: &options::Options, module: &syn::ItemMod) -> proc_macro2::TokenStream {
    let Some((_, items)) = &module.content else {
        let text =
            "the functions of an exposed module stand where the attribute sees them: `mod name { .. }`";
        let syn::ItemMod { mod_token, ident, semi, .. } = module;
        let error = syn::Error::new_spanned(quote!(#mod_token #ident #semi), text).to_compile_error();
        return quote!(#module #error);
    };
    let named = names::of_module(&module.ident);
    match named.and_then(|name| Ok((name, expose::of_module(options, items)?))) {
        Ok((name, exposed)) => write::of_module(options, module, &name, exposed),
        Err(error) => {
            let error = error.to_compile_error();
            quote!(#module #error)
        }
    }
}
