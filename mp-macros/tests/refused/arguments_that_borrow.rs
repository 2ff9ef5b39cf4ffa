//! Arguments that borrow from their caller, which is in another process, or are of no type of their own.

pub struct Words(Vec<String>);

#[mp_manager::object]
impl Words {
    pub fn push(&mut self, word: &str) {
        //                       ^^^^ take a `String` for a `&str`
        self.0.push(word.to_owned());
    }

    pub fn replace(&mut self, words: &[String]) {
        //                           ^^^^^^^^^ a `Vec` for a slice
        self.0 = words.to_vec();
    }

    pub fn count(&self, words: Vec<&'static str>) -> usize {
        //                         ^^^^^^^^^^^^ cannot be borrowed
        words.len()
    }

    pub fn first(&self, words: [&'static str; 2]) -> usize {
        //                      ^^^^^^^^^^^^ cannot be borrowed
        words.len()
    }

    pub fn is(&self, (place, word): (usize, Option<&'static str>)) -> bool {
        //                                         ^^^^^^^^^^^^ cannot be borrowed
        self.0.get(place).map(String::as_str) == word
    }

    pub fn at(&self, place: *const usize) {
        //                  ^^^^^^^^^^^^ cannot be borrowed
    }

    pub fn join(&self, by: std::borrow::Cow<'_, str>) -> String {
        //                                  ^^ cannot be borrowed
        self.0.join(&by)
    }

    pub fn retain(&mut self, keep: Box<dyn Fn(&str) -> bool>) {
        //                             ^^^^^^^^^^^^^^^^^^^^ not `dyn`
        self.0.retain(|word| keep(word));
    }

    pub fn extend(&mut self, words: impl IntoIterator<Item = String>) {
        //                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ a type of its own, not `impl`
        self.0.extend(words);
    }

    pub fn map(&mut self, function: fn(String) -> String) {
        //                          ^^^^^^^^^^^^^^^^^^^^ take a `Function`
        self.0.iter_mut().for_each(|word| *word = function(word.clone()));
    }
}
