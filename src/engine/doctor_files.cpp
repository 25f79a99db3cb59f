#include "engine/doctor_files.h"

#include <fmt/format.h>

#include "base/error.h"
#include "engine/file_holes.h"
#include "engine/findings.h"
#include "io/direct_alignment.h"

namespace flashmoe {

Finding check_direct(const std::string& path) {
  try {
    const uint32_t alignment = probe_direct_alignment(*open_file(path));
    if (alignment > 0) return {"O_DIRECT", Verdict::good, fmt::format("works, {} bytes aligned", alignment), ""};
  } catch (const Error& error) {
    return finding_of("O_DIRECT", error);
  }
  return {"O_DIRECT", Verdict::problem, path + ": its file system refuses direct reads",
          "put the model on ext4, xfs or btrfs; tmpfs, overlays and network mounts read through the page cache"};
}

void check_holes(const Checkpoint& checkpoint, std::vector<Finding>& findings) {
  const auto holes = holes_in_tensors(checkpoint, checkpoint.files());
  if (!holes.empty()) findings.push_back({"holes", Verdict::note, told(holes), kMendOfHoles});
}

}  // namespace flashmoe
