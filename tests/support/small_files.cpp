#include "support/small_files.h"

#include <vector>

namespace flashmoe {

GgufWriter small_gguf() {
  GgufWriter writer;
  writer.add_string("general.architecture", "test");
  writer.add_u32("general.alignment", 32);
  writer.add_raw("u8", GgufKind::u8, gguf_number<uint8_t>(200));
  writer.add_raw("i8", GgufKind::i8, gguf_number<int8_t>(-100));
  writer.add_u16("u16", 60000);
  writer.add_raw("i16", GgufKind::i16, gguf_number<int16_t>(-30000));
  writer.add_u32("u32", 4000000000u);
  writer.add_i32("i32", -2000000000);
  writer.add_u64("u64", uint64_t{1} << 63);
  writer.add_raw("i64", GgufKind::i64, gguf_number<int64_t>(INT64_MIN));
  writer.add_f32("f32", 1.5f);
  writer.add_raw("f64", GgufKind::f64, gguf_number(2.25));
  writer.add_bool("bool", true);
  writer.add_string("string", "h\xc3\xa9");
  writer.add_array("u8s", GgufKind::u8, 2, gguf_number<uint8_t>(1) + gguf_number<uint8_t>(255));
  writer.add_array("i8s", GgufKind::i8, 1, gguf_number<int8_t>(-1));
  writer.add_array("u16s", GgufKind::u16, 1, gguf_number<uint16_t>(65535));
  writer.add_array("i16s", GgufKind::i16, 1, gguf_number<int16_t>(-2));
  writer.add_array("u32s", GgufKind::u32, 1, gguf_number<uint32_t>(4000000000u));
  writer.add_i32s("i32s", {1, -2, 3});
  writer.add_array("u64s", GgufKind::u64, 1, gguf_number<uint64_t>(7));
  writer.add_array("i64s", GgufKind::i64, 1, gguf_number<int64_t>(-8));
  writer.add_array("f32s", GgufKind::f32, 2, gguf_number(0.5f) + gguf_number(-0.5f));
  writer.add_array("f64s", GgufKind::f64, 1, gguf_number(0.125));
  writer.add_array("bools", GgufKind::boolean, 3, std::string("\1\0\1", 3));
  writer.add_strings("strings", {"", "x", "a string longer than fifteen bytes"});
  writer.add_strings("no strings", {});
  constexpr uint32_t kF32 = 0, kQ8_0 = 8, kTq1_0 = 34;
  writer.add_tensor("a", {2, 3}, kF32, std::string(24, '\1'));
  writer.add_tensor("b", {4, 64}, kQ8_0, std::string(4 * 2 * 34, '\2'));
  writer.add_tensor("c", {256}, kTq1_0, std::string(54, '\3'));
  return writer;
}

SafetensorsWriter small_safetensors() {
  SafetensorsWriter writer;
  writer.add_tensor("a", "F32", {2, 3}, std::string(24, '\1'));
  writer.add_tensor("b", "BF16", {4}, std::string(8, '\2'));
  writer.add_tensor("c", "F8_E4M3", {2, 2}, std::string(4, '\3'));
  return writer;
}

}  // namespace flashmoe
