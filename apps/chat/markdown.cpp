#include "chat/markdown.h"

#include <md4c.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>

#include "chat/markdown_table.h"
#include "chat/shown_text.h"

namespace flashmoe {
namespace {

constexpr unsigned kDialect = MD_FLAG_TABLES | MD_FLAG_STRIKETHROUGH | MD_FLAG_TASKLISTS | MD_FLAG_NOHTML |
                              MD_FLAG_NOINDENTEDCODEBLOCKS | MD_FLAG_PERMISSIVEURLAUTOLINKS;

// "&amp;" -> "&"; what is not known stays as it is.
std::string decode_entity(std::string_view entity) {
  constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"&amp;", "&"},  {"&lt;", "<"},     {"&gt;", ">"},     {"&quot;", "\""}, {"&apos;", "'"},  {"&nbsp;", " "},
      {"&copy;", "©"}, {"&hellip;", "…"}, {"&mdash;", "—"},  {"&ndash;", "–"}, {"&times;", "×"}, {"&deg;", "°"},
      {"&rarr;", "→"}, {"&larr;", "←"},   {"&middot;", "·"}, {"&le;", "≤"},    {"&ge;", "≥"},    {"&ne;", "≠"}};
  for (const auto& [name, text] : kNames) {
    if (entity == name) return std::string(text);
  }
  if (!entity.starts_with("&#") || entity.size() < 4) return std::string(entity);
  const bool hex = (entity[2] | 0x20) == 'x';
  const std::string_view digits = entity.substr(hex ? 3 : 2, entity.size() - (hex ? 4 : 3));
  uint32_t code = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size() || code == 0 || code > 0x10FFFF ||
      (code >= 0xD800 && code < 0xE000)) {
    return std::string(entity);
  }
  std::string out;
  const auto add = [&out](uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6), add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12), add(0x80 | (code >> 6 & 0x3F)), add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | code >> 18), add(0x80 | (code >> 12 & 0x3F)), add(0x80 | (code >> 6 & 0x3F)), add(0x80 | (code & 0x3F));
  }
  return out;
}

class Rendering {
 public:
  explicit Rendering(int columns) : columns_(columns) {}

  int enter_block(MD_BLOCKTYPE type, void* detail) {
    switch (type) {
      case MD_BLOCK_QUOTE:
        gap();
        push({{kDim, "│ "}}, {{kDim, "│ "}});
        fresh_ = true;
        break;
      case MD_BLOCK_UL:
      case MD_BLOCK_OL:
        if (lists_.empty()) gap();
        lists_.push_back(type == MD_BLOCK_OL ? static_cast<int64_t>(static_cast<MD_BLOCK_OL_DETAIL*>(detail)->start)
                                             : kBullets);
        fresh_ = true;
        break;
      case MD_BLOCK_LI:
        enter_item(*static_cast<MD_BLOCK_LI_DETAIL*>(detail));
        break;
      case MD_BLOCK_H:
        style_ |= kBold;
        if (static_cast<MD_BLOCK_H_DETAIL*>(detail)->level == 1) style_ |= kUnderlined;
        break;
      case MD_BLOCK_CODE:
        style_ |= kCoded;
        break;
      case MD_BLOCK_TABLE:
        table_ = {};
        table_.n_columns = static_cast<MD_BLOCK_TABLE_DETAIL*>(detail)->col_count;
        break;
      case MD_BLOCK_TR:
        table_.rows.emplace_back();
        break;
      case MD_BLOCK_TH:
        table_.alignments.push_back(alignment(static_cast<MD_BLOCK_TD_DETAIL*>(detail)->align));
        break;
      default:
        break;
    }
    return 0;
  }

  int leave_block(MD_BLOCKTYPE type) {
    switch (type) {
      case MD_BLOCK_QUOTE:
        pop();
        break;
      case MD_BLOCK_UL:
      case MD_BLOCK_OL:
        lists_.pop_back();
        break;
      case MD_BLOCK_LI:
        if (fresh_) leaf(Spaces::fold);  // an empty item has its bullet all the same
        pop();
        break;
      case MD_BLOCK_H:
      case MD_BLOCK_P:
        leaf(Spaces::fold);
        style_ = kPlain;
        break;
      case MD_BLOCK_CODE:
        if (!text_.empty() && text_.back().text.ends_with('\n')) text_.back().text.pop_back();
        push({{kPlain, "  "}}, {{kPlain, "  "}});
        leaf(Spaces::keep);
        pop();
        style_ = kPlain;
        break;
      case MD_BLOCK_HR:
        rule();
        break;
      case MD_BLOCK_TH:
      case MD_BLOCK_TD:
        table_.rows.back().push_back(std::move(text_));
        text_.clear();
        break;
      case MD_BLOCK_TABLE:
        table();
        break;
      default:
        break;
    }
    return 0;
  }

  int enter_span(MD_SPANTYPE type, void* detail) {
    if (type == MD_SPAN_EM) set(kItalic);
    if (type == MD_SPAN_STRONG) set(kBold);
    if (type == MD_SPAN_DEL) set(kStruck);
    if (type == MD_SPAN_CODE) set(kCoded);
    if (type == MD_SPAN_A) {
      const MD_ATTRIBUTE& href = static_cast<MD_SPAN_A_DETAIL*>(detail)->href;
      targets_.push_back({std::string(href.text, href.size), text_so_far().size()});
      set(kUnderlined);
    }
    if (type == MD_SPAN_IMG) {
      const MD_ATTRIBUTE& source = static_cast<MD_SPAN_IMG_DETAIL*>(detail)->src;
      append(text_, style_, "[image: ");
      targets_.push_back({std::string(source.text, source.size), 0});
    }
    return 0;
  }

  int leave_span(MD_SPANTYPE type) {
    if (type == MD_SPAN_A || type == MD_SPAN_IMG) {
      const auto [target, start] = std::move(targets_.back());
      targets_.pop_back();
      if (type == MD_SPAN_IMG) append(text_, style_, "]");
      if (type == MD_SPAN_A) unset();
      // Where a link leads is shown: its text may say something else.
      const bool same = type == MD_SPAN_A && text_so_far().substr(start) == harmless(target);
      if (!same && !target.empty()) append(text_, style_, " (" + harmless(target) + ")");
      return 0;
    }
    unset();
    return 0;
  }

  int text(MD_TEXTTYPE type, std::string_view bytes) {
    if (type == MD_TEXT_SOFTBR || type == MD_TEXT_BR) {
      append(text_, style_, table_.n_columns > 0 ? " " : "\n");
    } else if (type == MD_TEXT_NULLCHAR) {
      append(text_, style_, "\xEF\xBF\xBD");
    } else if (type == MD_TEXT_ENTITY) {
      std::string decoded = harmless(decode_entity(bytes));
      append(text_, style_, decoded == "\n" ? " " : decoded);
    } else {
      append(text_, style_, harmless(bytes));
    }
    return 0;
  }

  // Ends the text of a tight list's item, which has no block of its own.
  void flush() {
    if (!text_.empty() && table_.n_columns == 0) leaf(Spaces::fold);
  }

  std::vector<Line> finish() {
    flush();
    return std::move(lines_);
  }

 private:
  static constexpr int64_t kBullets = -1;
  struct Target {
    std::string address;
    size_t start = 0;  // of the link's text in the text so far
  };

  static CellAlignment alignment(MD_ALIGN align) {
    return align == MD_ALIGN_RIGHT    ? CellAlignment::right
           : align == MD_ALIGN_CENTER ? CellAlignment::centre
                                      : CellAlignment::left;
  }

  std::string text_so_far() const { return plain_text(text_); }

  void set(uint8_t style) {
    styles_.push_back(style_);
    style_ |= style;
  }
  void unset() {
    style_ = styles_.back();
    styles_.pop_back();
  }

  void push(Line first, Line rest) { indents_.push_back({std::move(first), std::move(rest)}); }
  void pop() { indents_.pop_back(); }

  void enter_item(const MD_BLOCK_LI_DETAIL& item) {
    std::string mark = "• ";
    if (item.is_task) mark = item.task_mark == ' ' ? "[ ] " : "[x] ";
    if (lists_.back() != kBullets) mark = std::to_string(lists_.back()++) + ". " + (item.is_task ? mark : "");
    const int columns = columns_of(mark);
    push({{kPlain, mark}}, {{kPlain, std::string(static_cast<size_t>(columns), ' ')}});
    fresh_ = true;
  }

  // What stands before the lines of the next leaf. Very deep nesting is not indented any further.
  Indent indent() {
    Indent joined;
    for (Indent& part : indents_) {
      if (columns_of(joined.rest) + columns_of(part.rest) > columns_ / 2) break;
      for (const Span& span : part.first) append(joined.first, span.style, span.text);
      for (const Span& span : part.rest) append(joined.rest, span.style, span.text);
      part.first = part.rest;  // a bullet stands before one line
    }
    return joined;
  }

  // An empty line before this block, unless it is the first one or an item's.
  void gap() {
    if (!lines_.empty() && !fresh_ && lists_.empty()) {
      Line line;
      for (const Indent& part : indents_) {
        for (const Span& span : part.rest) append(line, span.style, span.text);
      }
      lines_.push_back(plain_text(line).find_first_not_of(' ') == std::string::npos ? Line{} : line);
    }
    fresh_ = false;
  }

  void leaf(Spaces spaces) {
    gap();
    const Line text = std::exchange(text_, {});
    for (Line& line : wrap(text, columns_, indent(), spaces)) lines_.push_back(std::move(line));
  }

  void rule() {
    gap();
    std::string dashes;
    for (int i = 0; i < std::min(columns_, 40); ++i) dashes += "─";
    lines_.push_back({{kDim, dashes}});
  }

  void table() {
    gap();
    const Table table = std::exchange(table_, {});
    const Indent before = indent();
    const int room = std::max(columns_ - columns_of(before.rest), 8);
    bool first = true;
    for (const Line& row : render_table(table, room)) {
      Line line = first ? before.first : before.rest;
      for (const Span& span : row) append(line, span.style, span.text);
      lines_.push_back(std::move(line));
      first = false;
    }
  }

  const int columns_;
  std::vector<Line> lines_;
  std::vector<Indent> indents_;
  std::vector<int64_t> lists_;  // the next number, or kBullets
  Line text_;
  uint8_t style_ = kPlain;
  std::vector<uint8_t> styles_;
  std::vector<Target> targets_;
  Table table_;
  bool fresh_ = false;  // an item or a quote has begun and has no line yet
};

}  // namespace

std::vector<Line> render_markdown(std::string_view text, int columns) {
  Rendering rendering(columns);
  MD_PARSER parser = {};
  parser.flags = kDialect;
  parser.enter_block = [](MD_BLOCKTYPE type, void* detail, void* self) {
    static_cast<Rendering*>(self)->flush();
    return static_cast<Rendering*>(self)->enter_block(type, detail);
  };
  parser.leave_block = [](MD_BLOCKTYPE type, void*, void* self) {
    const bool has_text =
        type == MD_BLOCK_H || type == MD_BLOCK_P || type == MD_BLOCK_CODE || type == MD_BLOCK_TH || type == MD_BLOCK_TD;
    if (!has_text) static_cast<Rendering*>(self)->flush();
    return static_cast<Rendering*>(self)->leave_block(type);
  };
  parser.enter_span = [](MD_SPANTYPE type, void* detail, void* self) {
    return static_cast<Rendering*>(self)->enter_span(type, detail);
  };
  parser.leave_span = [](MD_SPANTYPE type, void*, void* self) {
    return static_cast<Rendering*>(self)->leave_span(type);
  };
  parser.text = [](MD_TEXTTYPE type, const MD_CHAR* bytes, MD_SIZE size, void* self) {
    return static_cast<Rendering*>(self)->text(type, std::string_view(bytes, size));
  };
  md_parse(text.data(), static_cast<MD_SIZE>(text.size()), &parser, &rendering);
  return rendering.finish();
}

}  // namespace flashmoe
