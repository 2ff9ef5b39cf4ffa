//! The attribute `#[object]` of `mp-manager` and `multiprocess`, where its
//! documentation is.

use proc_macro::TokenStream;
use syn::parse_macro_input;

mod expose;
mod options;
mod write;

#[cfg(test)]
mod tests;

/// Makes a proxy for the objects of a type, so that they can live in a manager.
///
/// On an `impl` block of `Counter` it writes `CounterProxy`, with the `pub`
/// methods of the block. Each of them runs in the manager's server and returns a
/// `Result`; `increment_async` of an `increment` returns before it has run. A `pub` function that
/// returns `Self`, or a `Result` of it, becomes a constructor whose first argument is the manager;
/// `new` becomes `create`.
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
/// # Options
/// * `exposed(get, _peek)`: these methods, also private ones, and no others.
/// * `keep`: a panic in a method that takes `&mut self` does not poison the object.
/// * `proxy = Name`: another name for the proxy.
/// * `crate = path`: where the items of `mp-manager` are found.
///
/// # What cannot be exposed
/// Methods that take `self` by value, borrow an argument or a value, are generic,
/// `async` or `unsafe`: an error says so, at the place. Type parameters belong to
/// the `impl` block.
#[proc_macro_attribute]
pub fn object(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    let block = parse_macro_input!(item as syn::ItemImpl);
    let written = expose::exposed(&options, &block).map(|exposed| write::proxy(&options, &block, &exposed));
    let written = written.unwrap_or_else(|error| error.to_compile_error());
    quote::quote!(#block #written).into()
}
