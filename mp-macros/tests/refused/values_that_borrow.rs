//! Values that borrow from the object, which stays in the manager.

pub struct Words(Vec<String>);

#[mp_manager::object]
impl Words {
    pub fn first(&self) -> &str {
        //                 ^^^^ return a copy, or a proxy of another object
        &self.0[0]
    }

    pub fn all(&self) -> Vec<&String> {
        //                   ^^^^^^^ return a copy
        self.0.iter().collect()
    }

    pub fn last(&self) -> Result<Option<std::borrow::Cow<'_, str>>, String> {
        //                                               ^^ return a copy
        Ok(self.0.last().map(Into::into))
    }

    pub fn length(&self) -> impl Fn() -> usize + use<> {
        //                  ^^^^^^^^^^^^^^^^^^^^^^^^^^ a type of its own, not `impl`
        let length = self.0.len();
        move || length
    }

    pub fn error(&self) -> Box<dyn std::error::Error> {
        //                     ^^^^^^^^^^^^^^^^^^^^^ not `dyn`
        "none".into()
    }
}
