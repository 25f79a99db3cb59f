#include "chat/markdown_stream.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "chat/markdown.h"
#include "chat/shown_text.h"

namespace flashmoe {
namespace {

constexpr size_t kLongestLink = 300;  // an open bracket further back is text

std::string_view line_at(std::string_view text, size_t at) { return text.substr(at, text.find('\n', at) - at); }

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// The run of ` or ~ that opens or closes code, at most three spaces in.
std::string_view fence_of(std::string_view line) {
  const size_t start = line.find_first_not_of(' ');
  if (start == std::string_view::npos || (line[start] != '`' && line[start] != '~')) return {};
  const size_t end = std::min(line.find_first_not_of(line[start], start), line.size());
  return end - start >= 3 ? line.substr(start, end - start) : std::string_view{};
}

bool closes(std::string_view line, std::string_view fence) {
  const std::string_view run = fence_of(line);
  return run.size() >= fence.size() && run[0] == fence[0] &&
         blank(line.substr(static_cast<size_t>(run.data() + run.size() - line.data())));
}

bool list_item(std::string_view line) {
  const size_t start = line.find_first_not_of(' ');
  if (start == std::string_view::npos) return false;
  size_t at = start;
  if (std::string_view("-*+").find(line[at]) != std::string_view::npos)
    return at + 1 >= line.size() || line[at + 1] == ' ';
  while (at < line.size() && std::isdigit(static_cast<unsigned char>(line[at]))) ++at;
  return at > start && at < line.size() && (line[at] == '.' || line[at] == ')') &&
         (at + 1 == line.size() || line[at + 1] == ' ');
}

// Inline marks that are open at the end of a paragraph.
class OpenMarks {
 public:
  explicit OpenMarks(std::string_view text) : text_(text) {
    for (size_t at = 0; at < text_.size();) at = step(at);
  }

  // Where an unfinished link begins.
  std::optional<size_t> link() const {
    if (bracket_ && text_.size() - *bracket_ <= kLongestLink) return bracket_;
    return std::nullopt;
  }
  std::string closers() const {
    std::string out = code_;
    for (auto mark = marks_.rbegin(); mark != marks_.rend(); ++mark) out += *mark;
    return out;
  }
  bool in_code() const { return !code_.empty(); }

 private:
  size_t step(size_t at) {
    const char mark = text_[at];
    const size_t end = std::min(text_.find_first_not_of(mark, at), text_.size());
    if (mark == '`') {
      const std::string run(text_.substr(at, end - at));
      if (code_.empty()) {
        code_ = run;
      } else if (code_ == run) {
        code_.clear();
      }
      return end;
    }
    if (!code_.empty()) return at + 1;
    if (mark == '\\') return at + 2;
    if (mark == '*' || mark == '_' || mark == '~') {
      run(at, end);
      return end;
    }
    if (mark == '[') bracket_ = at > 0 && text_[at - 1] == '!' ? at - 1 : at;
    if (mark == ']' && bracket_ && (at + 1 < text_.size() && text_[at + 1] != '(')) bracket_.reset();
    if (mark == ')' && bracket_) bracket_.reset();
    return at + 1;
  }

  void run(size_t at, size_t end) {
    const std::string mark(text_.substr(at, end - at));
    const bool space_after = end >= text_.size() || std::isspace(static_cast<unsigned char>(text_[end]));
    const unsigned char before = at == 0 ? ' ' : static_cast<unsigned char>(text_[at - 1]);
    if (!std::isspace(before) && !marks_.empty() && marks_.back() == mark) {
      marks_.pop_back();
    } else if (!space_after && (std::isspace(before) || std::ispunct(before)) && (mark[0] != '~' || mark.size() == 2)) {
      marks_.push_back(mark);
    }
  }

  std::string_view text_;
  std::string code_;
  std::vector<std::string> marks_;
  std::optional<size_t> bracket_;
};

void drop_tail(std::string& text, std::string_view marks, size_t least) {
  text.resize(std::max(text.find_last_not_of(marks) + 1, least));  // npos + 1 is the start
}

// The fence that is open at the end, or nothing.
std::string open_fence(std::string_view text) {
  std::string fence;
  for (size_t at = 0; at < text.size();) {
    const std::string_view line = line_at(text, at);
    if (fence.empty()) {
      fence = fence_of(line);
    } else if (closes(line, fence)) {
      fence.clear();
    }
    at += line.size() + 1;
  }
  return fence;
}

// Where the text begins that marks at the end can belong to: behind an empty line, or at an item, heading or quote.
size_t last_paragraph(std::string_view text) {
  for (size_t at = text.size();;) {
    const size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is the start
    const std::string_view line = text.substr(start, at - start);
    if (start == 0 || list_item(line) || line.starts_with('#') || line.starts_with('>')) return start;
    if (blank(line) && at < text.size()) return at + 1;
    at = start - 1;
  }
}

// A table's heading is only known by the line below it, and a row only at its end.
void hold_table(std::string& text) {
  const size_t paragraph = text.rfind("\n\n") == std::string::npos ? 0 : text.rfind("\n\n") + 2;
  if (paragraph >= text.size() || text[paragraph] != '|') return;
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  text.resize(std::max(whole, paragraph));
  if (std::count(text.begin() + static_cast<std::ptrdiff_t>(paragraph), text.end(), '\n') < 2) text.resize(paragraph);
}

// A word that grows at the end of a line may turn out too long for it: it waits for its end, rather than to be seen
// moving to the next line.
void hold_word(std::vector<Line>& lines, int columns) {
  constexpr int kLongWord = 16;
  Line& line = lines.back();
  const std::string text = plain_text(line);
  const size_t space = text.rfind(' ');
  if (space == std::string::npos || text.find_first_not_of(' ') > space) return;
  if (columns_of(std::string_view(text).substr(0, space)) <= columns - kLongWord) return;
  size_t n_bytes = text.size() - space;  // the space before it too
  while (n_bytes > 0) {
    const size_t n = std::min(n_bytes, line.back().text.size());
    line.back().text.resize(line.back().text.size() - n);
    n_bytes -= n;
    if (line.back().text.empty()) line.pop_back();
  }
}

}  // namespace

size_t finished_block(std::string_view text) {
  const bool list = list_item(line_at(text, std::min(text.find_first_not_of('\n'), text.size())));
  std::string_view fence;
  bool after_blank = false, any = false;
  for (size_t at = 0; at < text.size();) {
    const std::string_view line = line_at(text, at);
    const bool whole = at + line.size() < text.size();
    if (!fence.empty()) {
      if (whole && closes(line, fence)) fence = {};
    } else if (blank(line)) {
      after_blank = any;
    } else {
      // A list goes on with items and with what is indented. Digits alone may yet become an item.
      const bool known = whole || line.find_first_not_of("0123456789") != std::string_view::npos;
      if (after_blank && known && line[0] != ' ' && line[0] != '\t' && !(list && list_item(line))) return at;
      fence = fence_of(line);
      any = true;
      after_blank = false;
    }
    at += line.size() + 1;
  }
  return std::string_view::npos;
}

std::string showable(std::string_view text) {
  std::string shown(text);
  const size_t last = shown.rfind('\n') == std::string::npos ? 0 : shown.rfind('\n') + 1;
  if (const std::string fence = open_fence(text); !fence.empty()) {
    // The last line may become the end of the code, or, as the first one, the name of its language.
    const std::string_view line = std::string_view(shown).substr(last);
    const size_t start = line.find_first_not_of(' ');
    if (start != std::string_view::npos && line.find_first_not_of(fence[0], start) == std::string_view::npos) {
      shown.resize(last);
    }
    return shown;
  }
  if (shown.find_first_not_of(" \t#*+-_=`~>|:.)0123456789[]", last) == std::string::npos) shown.resize(last);
  hold_table(shown);
  const size_t paragraph = last_paragraph(shown);
  const auto marks = [&] { return OpenMarks(std::string_view(shown).substr(paragraph)); };
  if (!marks().in_code()) drop_tail(shown, "*_~\\!&", paragraph);
  if (const auto link = marks().link()) shown.resize(paragraph + *link);
  if (shown.ends_with('`')) {
    const std::string whole = shown;
    drop_tail(shown, "`", paragraph);
    if (marks().in_code()) shown = whole;  // they may close it
  }
  const std::string closers = marks().closers();
  if (!closers.empty() && closers[0] != '`') drop_tail(shown, " \t\n*_~", paragraph);
  return shown + closers;
}

void MarkdownStream::add(std::string_view piece) {
  text_ += piece;
  for (size_t end; (end = finished_block(text_)) != std::string_view::npos;) {
    draw(std::string_view(text_).substr(0, end), true);
    if (!block_.empty()) first_ = false;
    block_.finish();
    text_.erase(0, end);
  }
  draw(showable(text_), false);
}

void MarkdownStream::end() {
  draw(text_, true);
  if (!block_.empty()) first_ = false;
  block_.finish();
  text_.clear();
}

void MarkdownStream::draw(std::string_view markdown, bool whole) {
  const int columns = std::max(block_.screen().size().columns - 1, 10);
  std::vector<Line> lines = render_markdown(markdown, columns);
  if (lines.empty()) return block_.show({});
  if (!whole) hold_word(lines, columns);
  if (!first_) lines.insert(lines.begin(), Line{});
  block_.show(std::move(lines));
}

}  // namespace flashmoe
