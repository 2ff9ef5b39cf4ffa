//! Values of types without serde's traits, or with one of the two.

pub struct Point {
    pub x: f64,
}

pub struct Shape(Vec<Point>);

#[mp_manager::object]
impl Shape {
    pub fn pop(&mut self) -> Option<Point> {
        //                   ^^^^^^^^^^^^^ E0277
        self.0.pop()
    }
}
