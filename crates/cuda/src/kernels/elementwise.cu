// Embedding, rotary positions, SwiGLU, copies and sums. T is the number of rows.

// out[t] = embedding[tokens[t]]; one block a row. A token below zero marks an empty row.
extern "C" __global__ void embed(const bf16* embedding, const int* tokens, bf16* out, int width) {
    take_over();
    long row = blockIdx.x;
    int token = tokens[row];
    const uint4* source = reinterpret_cast<const uint4*>(embedding + (long)max(token, 0) * width);
    uint4* target = reinterpret_cast<uint4*>(out + row * width);
    for (int i = threadIdx.x; i < width / 8; i += blockDim.x) target[i] = source[i];
}

// gradient[token] += the sum of its rows. One block a distinct token: rows[starts[b]..starts[b+1]]
// are the rows of tokens[b], in order, so that the sum never depends on timing.
extern "C" __global__ void embed_backward(const bf16* rows_gradient, const int* tokens, const int* starts,
                                          const int* rows, float* gradient, int width) {
    int first = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    float* target = gradient + (long)tokens[blockIdx.x] * width;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (int at = first; at < end; at++) {
            float value[8];
            load8(rows_gradient + (long)rows[at] * width + i, value);
            for (int k = 0; k < 8; k++) sum[k] += value[k];
        }
        for (int k = 0; k < 8; k++) target[i + k] += sum[k];
    }
}

// Rotates the first `heads` heads of each row in place. table: [positions, HEAD_DIM / 2] of (cosine,
// sine). direction is 1, or -1 for the gradient. One warp a head.
extern "C" __global__ void rotate(bf16* qkv, const int* positions, const float2* table, int rows, int heads,
                                  int width, float direction) {
    long item = (long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (item >= (long)rows * heads) return;
    long row = item / heads;
    bf16* head = qkv + row * width + (item % heads) * HEAD_DIM;
    const float2* turn = table + (long)positions[row] * (HEAD_DIM / 2);
    for (int i = (threadIdx.x & 31) * 2; i < HEAD_DIM / 2; i += 64) {
        u32* first = reinterpret_cast<u32*>(head + i);
        u32* second = reinterpret_cast<u32*>(head + i + HEAD_DIM / 2);
        float2 a = turn[i], b = turn[i + 1];
        a.y *= direction, b.y *= direction;
        float x0 = low(*first), x1 = high(*first), y0 = low(*second), y1 = high(*second);
        *first = pack(x0 * a.x - y0 * a.y, x1 * b.x - y1 * b.y);
        *second = pack(y0 * a.x + x0 * a.y, y1 * b.x + x1 * b.y);
    }
}

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

// out = silu(gate) * up; gate_up is [T, 2 width], out [T, width].
extern "C" __global__ void swiglu(const bf16* gate_up, bf16* out, int rows, int width) {
    take_over();
    long item = ((long)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (item >= (long)rows * width) return;
    long row = item / width, column = item % width;
    float gate[8], up[8];
    load8(gate_up + row * 2 * width + column, gate);
    load8(gate_up + row * 2 * width + width + column, up);
    for (int k = 0; k < 8; k++) up[k] *= gate[k] * sigmoid(gate[k]);
    store8(out + item, up);
}

// gate_up becomes its gradient; `gradient` [T, width], that of swiglu's output, becomes that output,
// which the gradient of the next matrix needs and the forward pass does not keep.
extern "C" __global__ void swiglu_backward(bf16* gate_up, bf16* gradient, int rows, int width) {
    long item = ((long)blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (item >= (long)rows * width) return;
    long row = item / width, column = item % width;
    bf16* gates = gate_up + row * 2 * width + column;
    float gate[8], up[8], slope[8], out[8];
    load8(gates, gate);
    load8(gates + width, up);
    load8(gradient + item, slope);
    for (int k = 0; k < 8; k++) {
        float s = sigmoid(gate[k]), silu = gate[k] * s;
        out[k] = silu * up[k];
        gate[k] = slope[k] * up[k] * s * (1.0f + gate[k] * (1.0f - s));
        up[k] = slope[k] * silu;
    }
    store8(gates, gate);
    store8(gates + width, up);
    store8(gradient + item, out);
}

// out[i] = in[rows[i]]: rows of `width` numbers, one block a row.
extern "C" __global__ void gather(const bf16* in, const int* rows, bf16* out, int width) {
    const uint4* source = reinterpret_cast<const uint4*>(in + (long)rows[blockIdx.x] * width);
    uint4* target = reinterpret_cast<uint4*>(out + (long)blockIdx.x * width);
    for (int i = threadIdx.x; i < width / 8; i += blockDim.x) target[i] = source[i];
}

// out[rows[i]] += in[i]; a row may be named once a launch.
extern "C" __global__ void scatter_add(const bf16* in, const int* rows, bf16* out, int width) {
    const bf16* source = in + (long)blockIdx.x * width;
    bf16* target = out + (long)rows[blockIdx.x] * width;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        float a[8], b[8];
        load8(source + i, a);
        load8(target + i, b);
        for (int k = 0; k < 8; k++) b[k] += a[k];
        store8(target + i, b);
    }
}

// bf16 to f32.
extern "C" __global__ void widen(const bf16* in, float* out, long count) {
    long item = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item < count) out[item] = from_bf16(in[item]);
}

// f32 to bf16, rounded to nearest.
extern "C" __global__ void narrow(const float* in, bf16* out, long count) {
    long item = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (item < count) out[item] = to_bf16(in[item]);
}

// partial[b] = the sum of column values over the rows of part b: [gridDim.y, width]. Columns by
// blocks in x, parts of the rows in y.
extern "C" __global__ void column_sums(const bf16* in, float* partial, int rows, int width) {
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (column >= width) return;
    int part = (rows + gridDim.y - 1) / gridDim.y;
    int first = blockIdx.y * part, end = min(rows, first + part);
    float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int row = first; row < end; row++) {
        float value[8];
        load8(in + (long)row * width + column, value);
        for (int k = 0; k < 8; k++) sum[k] += value[k];
    }
    for (int k = 0; k < 8; k++) partial[(long)blockIdx.y * width + column + k] = sum[k];
}

// out[column] += the sum of partial[0..parts][column].
extern "C" __global__ void add_partials(const float* partial, float* out, int parts, int width) {
    int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= width) return;
    float sum = 0.0f;
    for (int part = 0; part < parts; part++) sum += partial[(long)part * width + column];
    out[column] += sum;
}
