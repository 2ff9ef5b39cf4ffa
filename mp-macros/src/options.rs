//! What stands in the attribute's parentheses.

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, Path, Token, parenthesized};

/// The options.
#[derive(Default)]
pub(crate) struct Options {
    /// The methods to expose, if there is a list.
    pub(crate) exposed: Option<Vec<Ident>>,
    pub(crate) keep: bool,
    pub(crate) proxy: Option<Ident>,
    pub(crate) home: Option<Path>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            options.one(input)?;
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

impl Options {
    fn one(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        if input.peek(Token![crate]) {
            input.parse::<Token![crate]>()?;
            input.parse::<Token![=]>()?;
            self.home = Some(input.call(Path::parse_mod_style)?);
            return Ok(());
        }
        let name: Ident = input.parse()?;
        match name.to_string().as_str() {
            "exposed" => {
                let list;
                parenthesized!(list in input);
                let names = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
                self.exposed = Some(names.into_iter().collect());
            }
            "keep" => self.keep = true,
            "proxy" => {
                input.parse::<Token![=]>()?;
                self.proxy = Some(input.parse()?);
            }
            _ => {
                let text = "unknown option: there are `exposed(..)`, `keep`, `proxy = ..` and `crate = ..`";
                return Err(syn::Error::new(name.span(), text));
            }
        }
        Ok(())
    }
}
