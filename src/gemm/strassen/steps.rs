//! The steps of a product that is halved: passes that add, and classical products.

use ndarray::s;

use super::super::kernel::{Caches, Scale};
use super::super::parts::{Parts, Workspace};
use super::super::{Crew, Element, Isa, Kernel, Operands};
use super::passes::{Pass, Sum};
use super::plan::{Rim, Side};
use super::views::Views;
use super::walk::{Kind, Node};
use super::{Active, Strassen, Sums};

impl<T: Element> Strassen<T> {
    pub(super) fn advance_pass(
        &mut self,
        (kind, node, level): (Kind, Node, usize),
        operands: &mut Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        let views = Views { plan: &self.plan, layout: self.layout };
        let Sums { a, b, c } = &mut self.sums;
        let (sum, quarters) = match kind {
            Kind::Of(Side::A) => (Sum::OfA, views.sums(Side::A, node, level, operands.a, a)),
            Kind::Of(Side::B) => (Sum::OfB, views.sums(Side::B, node, level, operands.b, b)),
            Kind::OfProducts => {
                // Beta is for what was there before the whole product: within, it is one.
                let beta = if level == 0 { scale.beta } else { T::from_f64(1.0) };
                let sum = if node.adds { Sum::ToC(beta) } else { Sum::InC };
                (sum, views.products(node, level, operands.c.view_mut(), c))
            }
        };
        let (rows, columns) = quarters.targets[0].dim();
        let mut pass = match self.active.take() {
            Some(Active::Pass(pass)) => pass,
            _ => Pass::new(rows, self.threads),
        };
        let left = pass.rows_left();
        pass.advance(isa_of(self.kernel), sum, quarters, crew, pause);
        self.sum_flops_done += ((left - pass.rows_left()) * columns) as u64 * sum.flops();
        if pass.rows_left() == 0 {
            self.walk.turn_to_next(&self.plan);
        } else {
            self.active = Some(Active::Pass(pass));
        }
    }

    pub(super) fn advance_leaf(
        &mut self,
        node: Node,
        operands: &mut Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        let views = Views { plan: &self.plan, layout: self.layout };
        let Sums { a, b, c } = &mut self.sums;
        let level = self.plan.levels;
        let leaf = Operands {
            a: views.operand(Side::A, node.a, level, operands.a, a),
            b: views.operand(Side::B, node.b, level, operands.b, b),
            c: views.c(node.c, level, operands.c.view_mut(), c),
        };
        let beta = T::from_f64(if node.adds { 1.0 } else { 0.0 });
        let how = (self.kernel, self.caches, self.threads);
        let product = (leaf, Scale { beta, ..scale });
        if let Some(flops) = self.packing.advance(&mut self.active, how, product, crew, pause) {
            self.leaf_flops_done += flops;
            self.walk.turn_to_next(&self.plan);
        }
    }

    pub(super) fn advance_rim(
        &mut self,
        operands: &mut Operands<T>,
        scale: Scale<T>,
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) {
        let Some(rim) = self.plan.rims().nth(self.rims_done) else { return };
        let core = self.plan.core();
        let (a, b, c) = (operands.a, operands.b, operands.c.view_mut());
        let (operands, scale) = match rim {
            Rim::Terms => {
                let (a, b) =
                    (a.slice_move(s![..core.m, core.k..]), b.slice_move(s![core.k.., ..core.n]));
                let c = c.slice_move(s![..core.m, ..core.n]);
                (Operands { a, b, c }, Scale { beta: T::from_f64(1.0), ..scale })
            }
            Rim::Columns => {
                let (a, b) = (a.slice_move(s![..core.m, ..]), b.slice_move(s![.., core.n..]));
                (Operands { a, b, c: c.slice_move(s![..core.m, core.n..]) }, scale)
            }
            Rim::Rows => {
                let a = a.slice_move(s![core.m.., ..]);
                (Operands { a, b, c: c.slice_move(s![core.m.., ..]) }, scale)
            }
        };
        let how = (self.kernel, self.caches, self.threads);
        let product = (operands, scale);
        if let Some(flops) = self.packing.advance(&mut self.active, how, product, crew, pause) {
            self.rim_flops_done += flops;
            self.rims_done += 1;
        }
    }
}

impl<T: Element> Workspace<T> {
    /// Begins the product that packs here, where there is room for it, or goes on with it; its
    /// operations once it is complete.
    fn advance(
        &mut self,
        active: &mut Option<Active<T>>,
        (kernel, caches, threads): (Kernel, Caches, usize),
        (operands, scale): (Operands<T>, Scale<T>),
        crew: &dyn Crew,
        pause: &(dyn Fn() -> bool + Sync),
    ) -> Option<u64> {
        let mut parts = match active.take() {
            Some(Active::Product(parts)) => parts,
            _ => Parts::new(kernel, caches, operands.layout(), threads, self)
                .expect("what a product packs in is here, and the rest is some hundred bytes"),
        };
        parts.advance(operands, scale, crew, pause);
        if !parts.is_complete() {
            *active = Some(Active::Product(parts));
            return None;
        }
        let flops = parts.flops_done();
        parts.recycle(self);
        Some(flops)
    }
}

fn isa_of(kernel: Kernel) -> Isa {
    match kernel {
        Kernel::Own(isa) => isa,
        Kernel::Matrixmultiply => Isa::Portable,
    }
}
