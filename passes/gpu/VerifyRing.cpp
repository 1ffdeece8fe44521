// Part of mk, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "passes/Passes.h"
#include "passes/gpu/Request.h"
#include "passes/gpu/RingSteps.h"
#include "passes/gpu/RingTrace.h"
#include "passes/gpu/SharedLayout.h"
#include "passes/gpu/TableWalk.h"

namespace mlir::mk {
#define GEN_PASS_DEF_VERIFYRING
#include "passes/Passes.h.inc"
} // namespace mlir::mk

using namespace mlir;
using namespace mlir::mk;

namespace {
class Verifier {
public:
  /// `most`: tokens of a step that `main` takes.
  Verifier(func::FuncOp main, int64_t most, mk_task::ProgramOp program, mk_task::TableOp table,
           RingSlice &slice)
      : main(main), most(most), program(program), table(table), slice(slice),
        options(getOptions(program)), layout(program, getTarget(program)) {}
  LogicalResult run();

private:
  void takeInstructions();
  void take(const RingStep &step);
  FailureOr<RingTrace> trace(const RingInputs &what, int64_t thread);
  LogicalResult verify(const RingStep &step);
  LogicalResult verifyBytes(const RingStep &step);
  LogicalResult verifyOrder(ArrayRef<RingUse> uses, bool fills, const RingStep &step);
  LogicalResult verifyConsumer(const RingTrace &consumer, ArrayRef<RingUse> filled,
                               const RingStep &step);
  InFlightDiagnostic fault(const RingUse &use, size_t number, const RingStep &step);

  func::FuncOp main;
  int64_t most;
  mk_task::ProgramOp program;
  mk_task::TableOp table;
  RingSlice &slice;
  OptionsAttr options;
  SharedLayout layout;
  std::vector<int32_t> words;
  RingInputs inputs, ofCache; // all instructions, and those of attention
  RingChoices choices;
};
} // namespace

static void print(InFlightDiagnostic &to, ArrayRef<MaybeNumber> numbers) {
  to << "(";
  for (auto [i, number] : llvm::enumerate(numbers)) {
    to << (i ? ", " : "");
    if (!number) {
      to << "unknown";
      continue;
    }
    to << number->constant;
    if (number->streams)
      to << " + " << number->streams << " x stream";
    if (number->begins)
      to << " + " << number->begins << " x begin";
  }
  to << ")";
}

InFlightDiagnostic Verifier::fault(const RingUse &use, size_t number, const RingStep &step) {
  InFlightDiagnostic error = use.op->emitOpError();
  error << "is use " << number << " of the ring";
  if (!use.kind.empty())
    error << " in kind '" << use.kind << "'";
  error << ", in steps of " << step.tokens << " tokens and " << step.rows << " rows: ";
  return error;
}

static Asked conditionsOf(ArrayRef<int32_t> words) {
  Asked result;
  for (int64_t i = 0; i < mk_task::kMaxConditions; ++i)
    if (int32_t bits = words[mk_task::field_hints] >> (mk_task::kConditionBit + 2 * i); bits & 1)
      result.push_back({words[mk_task::field_operand + mk_task::getConditionWord(i)], bits & 2});
  return result;
}

/// The instructions that differ in what the ring may know of them.
void Verifier::takeInstructions() {
  auto values = table.getWords().getValues<int32_t>();
  words.assign(values.begin(), values.end());
  SmallVector<mk_task::KindOp> kinds = kindsOf(program, table);
  std::set<std::tuple<int32_t, int32_t, int32_t, Asked>> seen;
  for (size_t at = 0; at < words.size(); at += mk_task::kInstructionWords) {
    auto row = ArrayRef(words).slice(at, mk_task::kInstructionWords);
    int32_t kind = row[mk_task::field_kind], begin = row[mk_task::field_begin],
            end = row[mk_task::field_end];
    if (kind < 0 || kind >= int32_t(kinds.size()))
      continue;
    bool anywhere = kinds[kind].getKindClass() != mk_task::KindClass::attend;
    if (kinds[kind].getKindClass() == mk_task::KindClass::experts) {
      int64_t experts = kinds[kind].getMatrices();
      choices.fewestExperts =
          choices.fewestExperts ? std::min(choices.fewestExperts, experts) : experts;
    }
    Asked conditions = conditionsOf(row);
    if (!conditions.empty())
      choices.asked.insert(conditions);
    if (!seen.insert({kind, anywhere ? 0 : begin, anywhere ? end - begin : end, conditions}).second)
      continue;
    inputs.instructions.push_back({row, anywhere});
    if (!anywhere)
      ofCache.instructions.push_back({row, anywhere});
  }
}

void Verifier::take(const RingStep &step) {
  inputs.request = {{"n_tokens", step.tokens}, {"n_rows", step.rows}, {"steps", inputs.steps}};
  inputs.sharedWords.clear();
  for (int64_t flag : {SharedLayout::kQuit, SharedLayout::kOverdue})
    inputs.sharedWords[flag] = 0;
  for (int64_t t = 0; t < step.tokens; ++t) {
    auto tell = [&](int64_t array, int64_t value) {
      int64_t place = array * kMaxRows + t;
      inputs.sharedWords[SharedLayout::kHeader + 4 * place] = value;
    };
    tell(SharedLayout::headerOf("positions"), step.positions[t]);
    tell(SharedLayout::headerOf("slots"), t);
    if (findSeen(program))
      tell(SharedLayout::kSeen, step.positions[t]);
  }
  for (int64_t copy = 0; copy < 2; ++copy) {
    auto tell = [&](SharedLayout::Size size, int64_t value) {
      int64_t place = copy * (SharedLayout::sizes + 1) + size;
      inputs.sharedWords[SharedLayout::kSizes + 4 * place] = value;
    };
    tell(SharedLayout::tokens, step.tokens);
    tell(SharedLayout::rows, step.rows);
    tell(SharedLayout::lastPosition, *llvm::max_element(step.positions));
  }
  for (int64_t list : {layout.loaderList, layout.consumerList}) {
    if (!choices.fewestExperts)
      break;
    inputs.sharedWords[list] = step.experts.size();
    for (auto [i, expert] : llvm::enumerate(step.experts))
      inputs.sharedWords[list + 4 * (int64_t(i) + 1)] = expert;
  }
  inputs.predicates.clear();
  for (const Asked &conditions : choices.asked)
    for (auto [word, side] : conditions)
      inputs.predicates[word] = step.otherwise;
  for (auto [word, side] : step.sides)
    inputs.predicates[word] = side;
  ofCache.predicates = inputs.predicates;
  ofCache.steps = inputs.steps;
  ofCache.request = inputs.request;
  ofCache.sharedWords = inputs.sharedWords;
}

FailureOr<RingTrace> Verifier::trace(const RingInputs &what, int64_t thread) {
  RingTrace result(slice, program, what, thread);
  if (failed(result.run(main)))
    return failure();
  return result;
}

/// Slots in their order, each waited for in the phase that is due.
LogicalResult Verifier::verifyOrder(ArrayRef<RingUse> uses, bool fills, const RingStep &step) {
  for (auto [number, use] : llvm::enumerate(uses)) {
    int64_t slot = number % layout.stages,
            parity = int64_t(number / layout.stages) % 2 ^ (fills ? 1 : 0);
    if (use.slot != Number{slot} || use.parity != Number{parity}) {
      InFlightDiagnostic error = fault(use, number, step);
      error << "expected a wait for slot and phase (" << slot << ", " << parity << "), found ";
      print(error, {use.slot, use.parity});
      return error;
    }
  }
  return success();
}

/// Of tiles one copy brings all bytes; of a block each lane of the loader copies some.
LogicalResult Verifier::verifyBytes(const RingStep &step) {
  SmallVector<RingUse> uses;
  for (int64_t lane = 0; lane < 32; ++lane) {
    FailureOr<RingTrace> found = trace(ofCache, kConsumers + lane);
    if (failed(found))
      return failure();
    if (lane == 0)
      uses = found->uses;
    if (found->uses.size() != uses.size())
      return main.emitOpError() << "has a loader whose lanes fill " << uses.size() << " and "
                                << found->uses.size() << " slots";
    for (auto [use, other] : llvm::zip_equal(uses, found->uses))
      use.copied += lane ? other.copied : 0;
  }
  for (auto [number, use] : llvm::enumerate(uses)) {
    // Of a block's rows a slot may have none.
    if (use.whole || (use.bytes == Number{use.copied} && use.copied <= kSlotBytes))
      continue;
    InFlightDiagnostic error = fault(use, number, step);
    error << "expected as many bytes as are copied, at most " << kSlotBytes << ", found ";
    print(error, {use.bytes});
    return error << " of " << use.copied;
  }
  return success();
}

LogicalResult Verifier::verifyConsumer(const RingTrace &consumer, ArrayRef<RingUse> filled,
                                       const RingStep &step) {
  if (failed(verifyOrder(consumer.uses, /*fills=*/false, step)))
    return failure();
  for (auto [number, use] : llvm::enumerate(consumer.uses)) {
    if (number >= filled.size())
      return fault(use, number, step) << "the loader fills " << filled.size() << " slots only";
    const RingUse &fill = filled[number];
    bool same = !use.holds.empty() && use.holds == fill.holds &&
                llvm::all_of(use.holds, [](MaybeNumber what) { return what.has_value(); });
    if (!same) {
      InFlightDiagnostic error = fault(use, number, step);
      error << "the consumers take it for ";
      print(error, use.holds);
      error << ", the loader brings ";
      print(error, fill.holds);
      error.attachNote(fill.op->getLoc()) << "the loader fills it here";
      return error;
    }
    if (use.released != 1)
      return fault(use, number, step) << "expected to be given back once, found " << use.released;
  }
  if (consumer.uses.size() != filled.size())
    return fault(filled[consumer.uses.size()], consumer.uses.size(), step)
           << "the consumers use " << consumer.uses.size() << " slots only";
  return success();
}

LogicalResult Verifier::verify(const RingStep &step) {
  take(step);
  FailureOr<RingTrace> loader = trace(inputs, kConsumers);
  if (failed(loader) || failed(verifyOrder(loader->uses, /*fills=*/true, step)) ||
      (step.tokens == 1 && failed(verifyBytes(step)))) // a block is of one token
    return failure();
  for (auto [number, use] : llvm::enumerate(loader->uses)) {
    int64_t bytes = use.bytes ? use.bytes->constant : 0;
    if (!use.whole || (bytes > 0 && bytes <= kSlotBytes))
      continue;
    InFlightDiagnostic error = fault(use, number, step);
    error << "expected a copy of at most " << kSlotBytes << " bytes, found ";
    print(error, {use.bytes});
    return error;
  }
  for (int64_t warp = 0; warp < kConsumerWarps; ++warp) {
    FailureOr<RingTrace> consumer = trace(inputs, 32 * warp);
    if (failed(consumer) || failed(verifyConsumer(*consumer, loader->uses, step)))
      return failure();
    if (!consumer->asksForThread)
      break; // the others do the same
  }
  inputs.steps = 1; // two have been seen to follow each other
  return success();
}

LogicalResult Verifier::run() {
  takeInstructions();
  for (const RingStep &step : stepsOf(options, kindsOf(program, table), choices, most))
    if (failed(verify(step)))
      return failure();
  return success();
}

namespace {
struct VerifyRing : mk::impl::VerifyRingBase<VerifyRing> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    RingSlice slice(module);
    for (auto program : llvm::make_early_inc_range(module.getOps<mk_task::ProgramOp>())) {
      int64_t most = getOptions(program).getMaxTokens();
      auto few = "mk_main_" + std::to_string(kGroupRows);
      for (auto [name, tokens] : {std::pair(std::string("mk_main"), most), {few, kGroupRows}})
        for (auto table : program.getOps<mk_task::TableOp>())
          if (auto main = module.lookupSymbol<func::FuncOp>(name);
              main && failed(Verifier(main, tokens, program, table, slice).run()))
            return signalPassFailure();
      program.erase();
    }
    module.walk([](mk_cta::RingHoldsOp op) { op.erase(); });
  }
};
} // namespace
