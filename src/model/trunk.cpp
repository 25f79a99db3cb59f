#include "model/trunk.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/function_ref.h"
#include "io/drive_tries.h"
#include "kernels/interleaving.h"
#include "model/matrix_parts.h"
#include "model/trunk_reads.h"

namespace flashmoe {
namespace {

bool stays_in_file(const Binder::MatrixRequest& request, RowsOf rows) {
  return rows == RowsOf::file && request.use == MatrixUse::rows;
}
uint64_t vector_span(const TensorInfo& tensor) {
  return round_up(static_cast<uint64_t>(tensor.n_values()) * sizeof(float), 64);
}

float transformed(float value, Transform transform) {
  switch (transform) {
    case Transform::one_plus:
      return 1.0F + value;
    case Transform::negative_exp:
      return -std::exp(value);
    case Transform::none:
      break;
  }
  return value;
}

[[noreturn]] void fail_not_finite(const Checkpoint& checkpoint, const TensorInfo& tensor, int64_t index) {
  fail(Fault::input, "{}: tensor {} holds a value that is not finite at index {}; the file is damaged",
       checkpoint.path(), tensor.name, index);
}

// The first of values [rows, cols] that is not finite; -1: all are.
int64_t first_not_finite(const MatrixView& w) {
  std::vector<float> values(static_cast<size_t>(w.cols));
  for (int64_t row = 0; row < w.rows; ++row) {
    w.decode(row, 0, w.cols, values.data());
    const auto at = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
    if (at != values.end()) return row * w.cols + (at - values.begin());
  }
  return -1;
}

[[noreturn]] void fail_damaged(const Trunk::Reading& how, const Checkpoint& checkpoint, const TensorInfo& tensor,
                               uint32_t drives, int n_tries) {
  const File& file = *checkpoint.files()[tensor.file];
  const std::string path = how.queue.path_on(drives, file.buffered_fd());
  fail(
      Fault::io,
      "{}: tensor {}: its checksum is not the one in manifest.json ({} tries); the file is damaged: restore it or pack "
      "the model anew",
      path.empty() ? file.path() : path, tensor.name, n_tries);
}

// `read` with other drives, which it is told to avoid and tells, until `is_right` or there is none to ask any more.
// `tries`: what came before.
void read_until_right(const Trunk::Reading& how, const Checkpoint& checkpoint, const TensorInfo& tensor,
                      DriveTries tries, uint32_t avoided, FunctionRef<uint32_t(uint32_t)> read,
                      FunctionRef<bool()> is_right) {
  while (true) {
    const uint32_t drives = read(avoided);
    if (is_right()) return;
    const auto next = tries.next(drives, how.queue.n_drives());
    if (!next) fail_damaged(how, checkpoint, tensor, drives, tries.n());
    avoided = *next;
  }
}

std::span<const float> load_vector(const Binder::VectorRequest& request, const Checkpoint& checkpoint,
                                   const Trunk::Reading& how, std::byte* dest) {
  const TensorInfo& tensor = *request.tensor;
  std::vector<std::byte> raw(tensor.bytes);
  const auto read = [&](uint32_t avoided) {
    return read_stored(how.queue, *checkpoint.files()[tensor.file], tensor, tensor.offset, raw, avoided);
  };
  const auto is_right = [&] { return !how.verify || !tensor.checksum || checksum_of(raw) == *tensor.checksum; };
  read_until_right(how, checkpoint, tensor, {}, 0, read, is_right);
  float* values = reinterpret_cast<float*>(dest);
  const int64_t n = tensor.n_values();
  format_info(tensor.format).decode({raw.data()}, 0, n, values);
  for (int64_t i = 0; i < n; ++i) {
    values[i] = transformed(values[i], request.transform);
    if (!std::isfinite(values[i])) fail_not_finite(checkpoint, tensor, i);
  }
  return {values, static_cast<size_t>(n)};
}

void drop_from_page_cache(const Binder::MatrixRequest& request, const Checkpoint& checkpoint) {
  for (const MatrixPart& part : parts_of(request)) {
    if (part.bytes > 0) checkpoint.files()[part.stored.file]->drop_page_cache(part.stored.offset, part.stored.bytes);
  }
}

// Whether memory holds what was packed.
bool memory_is_right(const Binder::MatrixRequest& request) {
  if (!request.tensor->checksum) return true;
  const std::array<const std::byte*, 3> memory = {request.target->data, request.target->scales, request.target->biases};
  const std::array<MatrixPart, 3> parts = parts_of(request);
  Checksum checksum;
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].bytes > 0) checksum.add({memory[p], static_cast<size_t>(parts[p].stored.bytes)});
  }
  return checksum.value() == *request.tensor->checksum;
}

// Bit set: drives whose copy of the tensor is not what was packed, of one whose bytes in memory cannot tell. At least
// one drive's is right.
uint32_t damaged_copies(const Binder::MatrixRequest& request, const Checkpoint& checkpoint, const Trunk::Reading& how) {
  if (!request.tensor->checksum) return 0;
  const int n_drives = how.queue.n_drives();
  uint32_t damaged = 0;
  for (int d = 0; d < n_drives; ++d) {
    const uint32_t drive = uint32_t{1} << d;
    const auto is_right = [&] {
      return stored_checksum(how.queue, checkpoint, *request.tensor, ~drive) == *request.tensor->checksum;
    };
    if (!is_right() && !is_right()) damaged |= drive;
  }
  if (request.target->data == nullptr) drop_from_page_cache(request, checkpoint);
  if (std::popcount(damaged) == n_drives) fail_damaged(how, checkpoint, *request.tensor, damaged, 2);
  return damaged;
}

}  // namespace

uint64_t Trunk::bytes(const Binder& binder, RowsOf rows) {
  uint64_t total = 0;
  for (const auto& request : binder.matrices()) total += stays_in_file(request, rows) ? 0 : MatrixReads::span(request);
  for (const auto& request : binder.vectors()) total += vector_span(*request.tensor);
  return total;
}

uint32_t Trunk::read_anew(const Binder::MatrixRequest& request, const Checkpoint& checkpoint, const Reading& how,
                          uint32_t avoided_drives) {
  std::byte* memory = buffer_.data() + (MatrixReads::begin(request) - buffer_.data());
  MatrixReads reads(checkpoint, how.direct, memory, avoided_drives);
  reads.add(request);
  return reads.run(how.queue, {});
}

// Memory and cables err, too: what differs is read once more, from another drive where there is one.
void Trunk::verify_matrices(const Binder& binder, const Checkpoint& checkpoint, const Reading& how) {
  const auto& requests = binder.matrices();
  const auto as_read = [](const Binder::MatrixRequest& r) { return r.pieces.empty() && r.target->data != nullptr; };
  std::vector<char> right(requests.size());
  how.pool.parallel_for(static_cast<int64_t>(requests.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      right[i] = as_read(requests[i]) && memory_is_right(requests[i]) ? 1 : 0;
    }
  });
  for (size_t i = 0; i < requests.size(); ++i) {
    const Binder::MatrixRequest& request = requests[i];
    if (right[i] == 1) continue;
    if (as_read(request)) {
      DriveTries tries;
      const auto read = [&](uint32_t avoided) { return read_anew(request, checkpoint, how, avoided); };
      const uint32_t avoided = tries.next(0, how.queue.n_drives()).value_or(0);
      read_until_right(how, checkpoint, *request.tensor, tries, avoided, read,
                       [&] { return memory_is_right(request); });
      continue;
    }
    const uint32_t damaged = damaged_copies(request, checkpoint, how);
    if (damaged == 0) continue;
    if (request.target->data == nullptr) {
      drives_without_rows_ |= damaged;
    } else {
      read_anew(request, checkpoint, how, damaged);
    }
  }
}

void Trunk::check_routers(const Binder& binder, const Checkpoint& checkpoint, ThreadPool& pool) {
  std::vector<const Binder::MatrixRequest*> routers;
  for (const auto& request : binder.matrices()) {
    if (request.use == MatrixUse::picks) routers.push_back(&request);
  }
  std::vector<int64_t> bad(routers.size());
  pool.parallel_for(static_cast<int64_t>(routers.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      bad[i] = first_not_finite(*routers[i]->target);
    }
  });
  for (size_t i = 0; i < routers.size(); ++i) {
    if (bad[i] >= 0) fail_not_finite(checkpoint, *routers[i]->tensor, bad[i]);
  }
}

void Trunk::interleave_matrices(const Binder& binder, const KernelTable& kernels, ThreadPool& pool) {
  std::vector<Interleaving> matrices;
  for (const auto& request : binder.matrices()) {
    if (request.use == MatrixUse::products) matrices.push_back(interleaving_in(buffer_.data(), *request.target));
  }
  interleave(kernels, matrices, pool);
}

void Trunk::load(const Binder& binder, const Checkpoint& checkpoint, const Reading& how, Budget& budget,
                 const std::function<void(uint64_t)>& on_bytes) {
  buffer_ = Buffer(budget, Allotted::trunk, bytes(binder, how.rows));
  MatrixReads matrices(checkpoint, how.direct, buffer_.data());
  for (const auto& request : binder.matrices()) {
    if (!stays_in_file(request, how.rows)) matrices.add(request);
  }
  matrices.run(how.queue, on_bytes);
  std::byte* at = matrices.end();
  for (const auto& request : binder.vectors()) {
    *request.target = load_vector(request, checkpoint, how, at);
    at += vector_span(*request.tensor);
  }
  if (how.verify) verify_matrices(binder, checkpoint, how);
  check_routers(binder, checkpoint, how.pool);
  if (how.interleave_for != nullptr) interleave_matrices(binder, *how.interleave_for, how.pool);
}

}  // namespace flashmoe
