#include "sampling/grammar/text_phase.h"

#include <string_view>

namespace flashmoe {
namespace {

using Phase = TextPhase::Phase;
using P = TextPhase;

struct Filler {
  TextPhaseTable table;

  constexpr void range(Phase from, int low, int high, Phase to) {
    for (int byte = low; byte <= high; ++byte) table[static_cast<size_t>(from)][static_cast<size_t>(byte)] = to;
  }
  constexpr void each(Phase from, std::string_view bytes, Phase to) {
    for (const char byte : bytes) range(from, static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), to);
  }
  constexpr void hex(Phase from, Phase to) { each(from, "0123456789abcdefABCDEF", to); }

  constexpr void characters() {
    range(P::between, 0x20, 0x7F, P::between);
    range(P::between, 0xC2, 0xDF, P::tail_1);
    range(P::between, 0xE0, 0xEF, P::tail_2);
    range(P::between, 0xF1, 0xF3, P::tail_3);
    range(P::between, 0xE0, 0xE0, P::tail_after_e0);
    range(P::between, 0xED, 0xED, P::tail_after_ed);
    range(P::between, 0xF0, 0xF0, P::tail_after_f0);
    range(P::between, 0xF4, 0xF4, P::tail_after_f4);
    each(P::between, "\"", P::quote);
    each(P::between, "\\", P::escape);
    range(P::tail_1, 0x80, 0xBF, P::between);
    range(P::tail_2, 0x80, 0xBF, P::tail_1);
    range(P::tail_3, 0x80, 0xBF, P::tail_2);
    range(P::tail_after_e0, 0xA0, 0xBF, P::tail_1);
    range(P::tail_after_ed, 0x80, 0x9F, P::tail_1);
    range(P::tail_after_f0, 0x90, 0xBF, P::tail_2);
    range(P::tail_after_f4, 0x80, 0x8F, P::tail_2);
  }

  constexpr void escapes() {
    each(P::escape, "\"\\/bfnrt", P::between);
    each(P::escape, "u", P::hex_first);
    hex(P::hex_first, P::hex_3);
    each(P::hex_first, "dD", P::hex_d);
    hex(P::hex_3, P::hex_2);
    hex(P::hex_2, P::hex_1);
    hex(P::hex_1, P::between);
    each(P::hex_d, "01234567", P::hex_2);
    each(P::hex_d, "89abAB", P::high_2);
    hex(P::high_2, P::high_1);
    hex(P::high_1, P::low_escape);
    each(P::low_escape, "\\", P::low_u);
    each(P::low_u, "u", P::low_first);
    each(P::low_first, "dD", P::low_second);
    each(P::low_second, "cdefCDEF", P::hex_2);
  }
};

constexpr TextPhaseTable make_table() {
  Filler filler{};
  for (auto& row : filler.table) row.fill(P::invalid);
  filler.characters();
  filler.escapes();
  return filler.table;
}

}  // namespace

constinit const TextPhaseTable kTextPhases = make_table();

}  // namespace flashmoe
