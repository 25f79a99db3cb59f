#include "flashmoe/doctor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "checkpoint/checkpoint.h"
#include "engine/findings.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

class DoctorTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    const fs::path path = fs::path(dir_.path()) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  const Finding* find(const std::string& what) const {
    const auto at = std::find_if(result_.findings.begin(), result_.findings.end(),
                                 [&](const Finding& f) { return f.what == what; });
    return at == result_.findings.end() ? nullptr : &*at;
  }
  void examine_model(const std::string& path) {
    EngineOptions options;
    options.model_path = path;
    options.ram_bytes = 1 << 30;
    result_ = examine(options);
    for (const Finding& f : result_.findings) {
      EXPECT_FALSE(f.found.empty()) << f.what;
      EXPECT_EQ(f.mend.empty(), f.verdict == Verdict::good) << f.what << ": " << f.mend;
      EXPECT_EQ((f.found + f.mend).find('\n'), std::string::npos) << f.what;
    }
  }

  TempDir dir_;
  Examination result_;
};

// The machine alone is measured for half a second or more.
TEST_F(DoctorTest, EndsWhenAskedToWithoutAModelAsWell) {
  int n_looks = 0;
  EngineOptions options;
  options.n_threads = 1;
  options.keep_going = [&] { return ++n_looks < 20; };
  expect_error([&] { examine(options); }, Fault::interrupted, {"interrupted"});
  EXPECT_EQ(n_looks, 20);
}

TEST_F(DoctorTest, HugePages) {
  const std::string root = dir_.path() + "/";
  EXPECT_EQ(check_huge_pages(root).verdict, Verdict::note);  // no /sys: nobody tells
  EXPECT_NE(check_huge_pages(root).found.find("cannot be told"), std::string::npos);
  fs::create_directories(root + "sys/kernel/mm");
  EXPECT_EQ(check_huge_pages(root).verdict, Verdict::problem);
  EXPECT_EQ(check_huge_pages(root).mend.find("/sys"), std::string::npos);
  for (const auto& [line, verdict] : {std::pair{"always madvise [never]", Verdict::problem},
                                      {"always [madvise] never", Verdict::good},
                                      {"[always] madvise never", Verdict::good}}) {
    write("sys/kernel/mm/transparent_hugepage/enabled", line);
    EXPECT_EQ(check_huge_pages(root).verdict, verdict) << line;
  }
}

TEST_F(DoctorTest, Proc) {
  const std::string root = dir_.path() + "/";
  ASSERT_TRUE(check_proc(root));
  EXPECT_EQ(check_proc(root)->verdict, Verdict::note);
  write("proc/meminfo", "MemTotal: 1 kB\n");
  EXPECT_FALSE(check_proc(root));
}

TEST_F(DoctorTest, Swap) {
  const std::string root = dir_.path() + "/";
  write("proc/swaps", "Filename Type Size Used Priority\n");
  EXPECT_EQ(check_swap(root).verdict, Verdict::good);
  write("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 8388604 0 -2\n");
  EXPECT_EQ(check_swap(root).verdict, Verdict::note);
}

TEST_F(DoctorTest, AnErrorIsSplitAtItsMend) {
  const Finding f =
      finding_of("model", Error(Fault::input, "a.gguf: a git-lfs pointer; not the weights; run 'git lfs pull'"));
  EXPECT_EQ(f.found, "a.gguf: a git-lfs pointer; not the weights");
  EXPECT_EQ(f.mend, "run 'git lfs pull'");
  const auto mend = [](Fault fault) { return finding_of("model", Error(fault, "something else")).mend; };
  EXPECT_EQ(mend(Fault::input), "fetch the model again");
  // Neither a wrong option nor a file that may not be read gets better by that.
  EXPECT_NE(mend(Fault::usage).find("option"), std::string::npos);
  EXPECT_NE(mend(Fault::io).find("permissions"), std::string::npos);
}

TEST_F(DoctorTest, UnfinishedDownloads) {
  write("model.gguf", "x");
  EXPECT_FALSE(check_downloads(dir_.path()));
  write(".cache/huggingface/download/abc.incomplete", "x");
  ASSERT_TRUE(check_downloads(dir_.path()));
  EXPECT_EQ(check_downloads(dir_.path())->verdict, Verdict::problem);
  EXPECT_NE(check_downloads(dir_.path())->found.find("abc.incomplete"), std::string::npos);
  EXPECT_EQ(check_downloads(dir_.path() + "/model.gguf")->verdict, Verdict::note);
}

TEST_F(DoctorTest, TheMachineAlone) {
  result_ = examine({});
  for (const char* what : {"cpu", "memory", "huge pages", "swap", "io_uring", "open files", "RAM speed"}) {
    EXPECT_NE(find(what), nullptr) << what;
  }
  EXPECT_EQ(find("model"), nullptr);
  EXPECT_FALSE(result_.forecast.has_value());
}

TEST_F(DoctorTest, AModelThatRuns) {
  TinyModelOptions tiny;
  tiny.with_tokenizer = true;
  examine_model(write_tiny_model(dir_.path(), tiny));
  ASSERT_NE(find("model"), nullptr);
  EXPECT_EQ(find("model")->verdict, Verdict::good);
  EXPECT_NE(find("disk speed"), nullptr);
  EXPECT_NE(find("speed"), nullptr);
  ASSERT_NE(find("weights"), nullptr);
  EXPECT_EQ(find("weights")->verdict, Verdict::good);
  ASSERT_TRUE(result_.forecast.has_value());
  EXPECT_GT(result_.forecast->decode_warm, 0);
}

TEST_F(DoctorTest, ADamagedWeight) {
  const std::string path = write_tiny_model(dir_.path(), {});
  const uint64_t at = Checkpoint::open(path)->find("output_norm.weight")->offset;
  const float not_a_number = std::nanf("");
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(reinterpret_cast<const char*>(&not_a_number), sizeof(not_a_number));
  file.close();
  examine_model(path);
  ASSERT_NE(find("weights"), nullptr);
  EXPECT_EQ(find("weights")->verdict, Verdict::problem);
  EXPECT_NE(find("weights")->found.find("output_norm.weight"), std::string::npos) << find("weights")->found;
}

TEST_F(DoctorTest, AModelWithoutATokenizer) {
  examine_model(write_tiny_model(dir_.path(), {}));
  ASSERT_NE(find("tokenizer"), nullptr);
  EXPECT_EQ(find("tokenizer")->verdict, Verdict::problem);
}

TEST_F(DoctorTest, ModelsThatAreNotThere) {
  write("pointer.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  examine_model(dir_.path() + "/pointer.gguf");
  ASSERT_NE(find("model"), nullptr);
  EXPECT_EQ(find("model")->verdict, Verdict::problem);
  EXPECT_NE(find("model")->mend.find("git lfs pull"), std::string::npos);
  examine_model(dir_.path() + "/nothing.gguf");
  EXPECT_EQ(find("model")->verdict, Verdict::problem);
}

TEST_F(DoctorTest, MissingShardsAreNamed) {
  TinyModelOptions tiny;
  tiny.layout = TinyLayout::hf_stacked;
  tiny.n_files = 3;
  const std::string folder = write_tiny_model(dir_.path(), tiny);
  fs::remove(fs::path(dir_.path()) / "model-00002-of-00003.safetensors");
  examine_model(dir_.path());
  ASSERT_NE(find("model"), nullptr);
  EXPECT_NE(find("model")->found.find("model-00002-of-00003"), std::string::npos) << find("model")->found;
  EXPECT_NE(find("model")->mend.find("fetch"), std::string::npos);
}

TEST_F(DoctorTest, TooLittleMemory) {
  EngineOptions options;
  options.model_path = write_tiny_model(dir_.path(), {});
  options.ram_bytes = 1 << 20;
  result_ = examine(options);
  ASSERT_NE(find("memory plan"), nullptr);
  EXPECT_EQ(find("memory plan")->verdict, Verdict::problem);
}

TEST_F(DoctorTest, AnInterruptionEndsIt) {
  EngineOptions options;
  options.model_path = write_tiny_model(dir_.path(), {});
  options.keep_going = [] { return false; };
  expect_error([&] { examine(options); }, Fault::interrupted, {"interrupted"});
}

}  // namespace
}  // namespace flashmoe
