//! Products of few rows.

use super::*;

#[test]
fn gate_and_up_of_few_rows() {
    let config = Config::tiny();
    let Some(ops) = ops(&config) else { return };
    let bench = Bench { ops: &ops };
    for (rows, inputs, width) in [(1, 64, 64), (16, 128, 192), (33, 896, 4864), (64, 1536, 8960)] {
        let (x, weight) = (random(rows * inputs, 1), random(2 * width * inputs, 2));
        let weight: Vec<f32> = weight.iter().map(|number| number / 32.0).collect();
        let mut gate_up = vec![0.0; rows * 2 * width];
        matmul::linear(&x, &weight, None, rows, &mut gate_up);
        let mut expected = vec![0.0; rows * width];
        elementwise::swiglu(&gate_up, width, &mut expected);
        let (dx, dweight, out) = (bench.put(&x), bench.put(&weight), bench.poison(rows * width));
        ops.gate_up_swiglu(dx.view(), dweight.view(), (rows, inputs, width), out.view()).expect("runs");
        close("gate and up of few rows", &bench.get(&out), &expected);
    }
}
