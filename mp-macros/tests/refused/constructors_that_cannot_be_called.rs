//! Constructors with arguments that do not travel, or that cannot be called.

pub struct Point;

pub struct Shape(Vec<Point>);

#[mp_manager::object]
impl Shape {
    pub fn new(first: Point) -> Self {
        //            ^^^^^ E0277
        Self(vec![first])
    }
}

pub struct Name(String);

#[mp_manager::object]
impl Name {
    pub fn new(name: &str) -> Self {
        //           ^^^^ take a `String` for a `&str`
        Self(name.to_owned())
    }

    pub fn of<T: ToString>(name: T) -> Result<Self, String> {
        //    ^^^^^^^^^^^ cannot be generic
        Ok(Self(name.to_string()))
    }
}
