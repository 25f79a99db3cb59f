#include "kernels/kernels.h"

#include "base/check.h"
#include "base/cpu_features.h"
#include "kernels/cpu/tables.h"

namespace flashmoe {
namespace {

KernelTable scalar_table() {
  KernelTable table;
  table.name = "scalar";
  scalar::set_matmuls(table);
  scalar::set_rows(table);
  scalar::set_delta(table);
  scalar::set_attention(table);
  scalar::set_int8_peak(table);
  return table;
}

#if defined(__x86_64__) || defined(__aarch64__)
KernelTable table_with(const char* name, void (*set_entries)(KernelTable&)) {
  KernelTable table = scalar_table();
  table.name = name;
  set_entries(table);
  return table;
}
#endif
#if defined(__x86_64__)
void set_vnni_entries(KernelTable& table) {
  avx2::set_entries(table);
  (cpu_features().avx_vnni ? avx2_vnni::set_entries : avx2_vnni_evex::set_entries)(table);
}
#elif defined(__aarch64__)
void set_neon_entries(KernelTable& table) {
  neon::set_entries(table);
  if (cpu_features().dotprod) neon_dotprod::set_entries(table);
}
#endif

}  // namespace

std::optional<const KernelTable*> kernels_by_name(std::string_view name) {
  if (name == "scalar") {
    static const KernelTable table = scalar_table();
    return &table;
  }
#if defined(__x86_64__)
  if (name == "avx2" && cpu_features().avx2) {
    static const KernelTable table = table_with("avx2", avx2::set_entries);
    return &table;
  }
  if (name == "avxvnni" && (cpu_features().avx_vnni || cpu_features().avx512_vnni)) {
    static const KernelTable table = table_with("avxvnni", set_vnni_entries);
    return &table;
  }
  if (name == "avx512" && cpu_features().avx512) {
    static const KernelTable table = table_with("avx512", avx512::set_entries);
    return &table;
  }
#elif defined(__aarch64__)
  if (name == "neon" && cpu_features().neon) {
    static const KernelTable table = table_with("neon", set_neon_entries);
    return &table;
  }
#endif
  return std::nullopt;
}

Matmul matmul_for(const KernelTable& table, const MatrixView& w, bool exact) {
  const auto format = static_cast<size_t>(w.format);
  CHECK(!(exact && w.interleaved));
  if (w.interleaved) return table.matmul_interleaved[format];
  return exact || format_info(w.format).is_float ? table.matmul_exact[format] : table.matmul_fast[format];
}

const KernelTable& best_kernels() {
  static const KernelTable* const best = [] {
    for (const char* name : {"avx512", "avxvnni", "avx2", "neon"}) {
      if (const auto table = kernels_by_name(name)) return *table;
    }
    return *kernels_by_name("scalar");
  }();
  return *best;
}

}  // namespace flashmoe
