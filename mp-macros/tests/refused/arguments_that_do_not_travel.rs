//! Arguments of types without serde's traits.

pub struct Point {
    pub x: f64,
}

pub struct Shape(Vec<Point>);

#[mp_manager::object]
impl Shape {
    pub fn push(&mut self, point: Point) {
        //                        ^^^^^ E0277
        self.0.push(point);
    }

    pub fn extend(&mut self, count: usize, points: Vec<Point>) {
        //                                         ^^^^^^^^^^ E0277
        self.0.extend(points);
    }
}
